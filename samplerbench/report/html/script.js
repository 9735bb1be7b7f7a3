"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const all = (query, root = document) => [...root.querySelectorAll(query)];
  const data = read("data");
  const said = document.getElementById("said");
  document.documentElement.classList.add("scripted");

  let quiet;
  const say = (text) => {
    said.textContent = text;
    clearTimeout(quiet);
    quiet = setTimeout(() => { said.textContent = ""; }, 4000);
  };
  const short = (x, digits = 4) => String(Number(x.toPrecision(digits))).replaceAll("-", "−");

  // which series are shown, in all charts
  const boxes = all(".legend input");
  const shown = () => boxes.forEach((box) => {
    all(`#curves .s[data-s="${box.dataset.s}"]`).forEach((group) => group.classList.toggle("off", !box.checked));
  });
  boxes.forEach((box) => box.addEventListener("change", shown));
  all("[data-all]").forEach((button) => button.addEventListener("click", () => {
    boxes.forEach((box) => { box.checked = button.dataset.all === "1"; });
    shown();
  }));

  // points under the pointer, or gone through by the arrow keys
  const about = (chart, mark) => {
    if (mark.dataset.p) return chart.published[mark.dataset.p];
    const [series, asked, x, y, low, high] = chart.points[mark.dataset.i];
    const at = `at ${short(x)} ${chart.unit}${asked === x ? "" : ` (asked: ${short(asked)})`}`;
    const interval = low === null ? "" : `, 95 %: ${short(low, 3)} to ${short(high, 3)}`;
    return `${chart.series[series]} ${at}: ${short(y)}${interval}`;
  };
  all(".plot").forEach((plot) => {
    const svg = plot.querySelector("svg"), tip = plot.querySelector(".tip");
    const chart = data.charts[svg.dataset.chart.replace(/-front$/, "")];
    let current = null;
    const marks = () => all("[data-i], [data-p]", svg).filter((mark) => !mark.closest(".off"));
    const where = (mark) => {
      const box = mark.getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    };
    const leave = () => {
      tip.hidden = true;
      current = null;
      svg.classList.remove("pointed");
      all(".hot", svg).forEach((group) => group.classList.remove("hot"));
    };
    const show = (mark) => {
      if (mark === current) return;
      leave();
      current = mark;
      const group = mark.closest(".s");
      if (group) {
        svg.classList.add("pointed");
        group.classList.add("hot");
      }
      tip.textContent = about(chart, mark);
      tip.hidden = false;
      const [x, y] = where(mark), frame = plot.getBoundingClientRect();
      const left = Math.min(x - frame.x + 10, frame.width - tip.offsetWidth);
      tip.style.left = `${Math.max(0, left)}px`;
      const above = y - frame.y - tip.offsetHeight - 10;
      tip.style.top = `${above < 0 ? y - frame.y + 12 : above}px`;
    };
    svg.addEventListener("pointermove", (event) => {
      let best = null, nearest = 28 ** 2;
      marks().forEach((mark) => {
        const [x, y] = where(mark), far = (x - event.clientX) ** 2 + (y - event.clientY) ** 2;
        if (far < nearest) [best, nearest] = [mark, far];
      });
      if (best) show(best); else leave();
    });
    plot.addEventListener("pointerleave", leave);
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return leave();
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
      const there = marks();
      if (!step || !there.length) return;
      event.preventDefault();
      let next = there[0];
      const at = there.indexOf(current);
      if (at >= 0 && event.key.endsWith("t")) next = there[(at + step + there.length) % there.length];
      else if (at >= 0) {
        const groups = [...new Set(there.map((mark) => mark.parentNode))];
        const group = groups[(groups.indexOf(current.parentNode) + step + groups.length) % groups.length];
        const [x] = where(current);
        next = there.filter((mark) => mark.parentNode === group)
          .sort((a, b) => Math.abs(where(a)[0] - x) - Math.abs(where(b)[0] - x))[0];
      }
      show(next);
      say(tip.textContent);
    });
  });

  // tables: sorted by a column, filtered by words
  all("table.sortable").forEach((table) => {
    const body = table.tBodies[0], rows = [...body.rows];
    rows.forEach((row, i) => { row.dataset.row = i; });
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        all("[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const text = (row) => row.cells[column].textContent;
        const value = (row) => parseFloat(row.cells[column].dataset.v); // what the cell shows may be short, or words
        const numeric = rows.some((row) => !isNaN(value(row)));
        const order = (a, b) => {
          if (!numeric) return text(a).localeCompare(text(b));
          const [x, y] = [value(a), value(b)];
          if (isNaN(x) || isNaN(y)) return (isNaN(x) - isNaN(y)) * (down ? -1 : 1); // what is missing comes last
          return x - y;
        };
        rows.sort((a, b) => order(a, b) * (down ? -1 : 1) || a.dataset.row - b.dataset.row);
        body.append(...rows);
      });
    });
  });
  all("[data-filter]").forEach((input) => input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...document.getElementById(input.dataset.filter).tBodies[0].rows];
    rows.forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
    say(`${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`);
  }));

  // copying: rows as they are sorted and filtered as LaTeX, everything as CSV
  const csv = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = ({ order, rows, common, columns }) => {
    const line = (i) => order.map((name) => csv(String((name in common ? common[name] : columns[name][i]) ?? "")));
    return [order, ...Array.from({ length: rows }, (_, i) => line(i))].map((cells) => cells.join(",")).join("\n") + "\n";
  };
  const latex = (name) => {
    const [head, lines, foot] = data.copies[name].latex;
    const rows = [...document.getElementById(name).tBodies[0].rows].filter((row) => !row.hidden);
    return [head, ...rows.map((row) => lines[row.dataset.row]), foot].join("\n") + "\n";
  };
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (!done) throw new Error("the browser does not allow it");
    }
  };
  all("[data-copy]").forEach((button) => button.addEventListener("click", () => {
    const { copy: name, as } = button.dataset;
    const text = as === "latex" ? latex(name) : lines(name === "records" ? read("records") : data.copies[name].csv);
    copy(text).then(() => say(`copied ${text.trimEnd().split("\n").length} lines`), (error) => say(String(error)));
  }));

  // pairs: one matrix at a time, and what a pair says
  const column = document.getElementById("column");
  if (column) {
    const pair = document.getElementById("pair");
    const choose = () => all(".pairs").forEach((part) => { part.hidden = part.dataset.m !== column.value; });
    column.value = String(column.options.length >> 1);
    column.addEventListener("change", choose);
    choose();
    const signed = (x) => (x > 0 ? "+" : "") + short(x, 3);
    all(".matrix").forEach((table) => {
      const names = all("tbody th", table).map((head) => head.textContent.replace(/^\d+ /, ""));
      const known = (cell) => data.pairs[table.dataset.m][cell.parentNode.rowIndex - 1]?.[cell.cellIndex - 1];
      const tell = (cell) => {
        all(".at", table).forEach((other) => other.classList.remove("at"));
        if (!cell || !known(cell)) return;
        cell.classList.add("at");
        const [delta, low, high, needed] = known(cell), what = data.deltas[table.dataset.m];
        const error = low === undefined ? "no error is known" : `95 % at once: [${signed(low)}, ${signed(high)}]`;
        const more = needed ? `; about ${needed.toLocaleString("en")} samples would decide it if it is what it seems` : "";
        const [i, j] = [cell.parentNode.rowIndex - 1, cell.cellIndex - 1];
        pair.textContent = `${names[i]} less ${names[j]}: ${what} ${signed(delta)}, ${error}${more}`;
      };
      table.addEventListener("pointerover", (event) => tell(event.target.closest("td")));
      // one cell of a matrix is among what the tab key goes through; the arrow keys go on from there
      const cells = all("tbody td", table).filter(known);
      cells.forEach((cell, i) => { cell.tabIndex = i ? -1 : 0; });
      table.addEventListener("focusin", (event) => {
        const cell = event.target.closest("td");
        cells.forEach((other) => { other.tabIndex = other === cell ? 0 : -1; });
        tell(cell);
      });
      table.addEventListener("keydown", (event) => {
        const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] ?? [];
        const cell = event.target.closest("td");
        if (down === undefined || !cell) return;
        event.preventDefault();
        const next = table.rows[cell.parentNode.rowIndex + down]?.cells[cell.cellIndex + right];
        if (next?.tagName === "TD" && known(next)) next.focus();
      });
    });
  }
})();
