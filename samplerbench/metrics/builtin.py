"""samplerbench's own metrics, registered through the same hook as anyone's. None loads torch until it measures."""

from __future__ import annotations

from ..hookspecs import hookimpl
from .measured import Measured, Unmeasurable
from .metric import Drawn, Metric


class FID(Metric):
    name = "fid"
    on_features = True
    title = "FID"
    about = "Fréchet distance of Gaussians fitted to the features of samples and of real images; falls with n"
    paper = "Heusel et al. 2017, arXiv:1706.08500"

    extrapolates = True

    def measure(self, drawn: Drawn) -> Measured:
        from .frechet_error import frechet

        return frechet(drawn.features, drawn.reference.statistics, drawn.device)


class FIDInfinity(Metric):
    name = "fid_inf"
    on_features = True
    about = "FID extrapolated to infinitely many samples"
    paper = "Chong & Forsyth 2020, arXiv:1911.07023"
    extrapolates = True

    def measure(self, drawn: Drawn) -> Measured:
        from .frechet_error import frechet_at_infinity

        if len(drawn.features) < 4:
            raise Unmeasurable(f"fid_inf needs 4 samples, got {len(drawn.features)}")
        return frechet_at_infinity(drawn.features, drawn.reference.statistics, drawn.device)


class KID(Metric):
    name = "kid"
    on_features = True
    title = "KID"
    about = "kernel distance of the features of samples and of real images; unbiased"
    paper = "Bińkowski et al. 2018, arXiv:1801.01401"

    def measure(self, drawn: Drawn) -> Measured:
        from .kernel import kernel_distance

        return kernel_distance(drawn.features, drawn.reference.some_features(self.name))


class Precision(Metric):
    name = "precision"
    on_features = True
    direction = "higher"
    about = "share of samples within the manifold of real images (k = 3)"
    paper = "Kynkäänniemi et al. 2019, arXiv:1904.06991"

    def measure(self, drawn: Drawn) -> Measured:
        from .manifold import precision

        return precision(drawn.features, drawn.reference.some_features(self.name))


class Recall(Metric):
    name = "recall"
    on_features = True
    direction = "higher"
    about = "share of real images within the manifold of samples (k = 3); falls with n"
    paper = "Kynkäänniemi et al. 2019, arXiv:1904.06991"

    def measure(self, drawn: Drawn) -> Measured:
        from .manifold import recall

        return recall(drawn.features, drawn.reference.some_features(self.name))


class InceptionScore(Metric):
    name = "isc"
    on_features = True
    title = "Inception Score"
    needs_classes = True
    direction = "higher"
    about = "Inception Score by the extractor's own classes, over all samples"
    paper = "Salimans et al. 2016, arXiv:1606.03498"
    extrapolates = True

    def measure(self, drawn: Drawn) -> Measured:
        from .inception_score import inception_score

        if drawn.logits is None:
            raise Unmeasurable("the extractor has no classifier")
        return inception_score(drawn.logits)


class ClassAccuracy(Metric):
    name = "class_accuracy"
    direction = "higher"
    on_features = True
    needs_classes = True
    about = "share of samples that the extractor's classifier takes for the class that was asked for"
    paper = "Ravuri & Vinyals 2019, arXiv:1905.10887"

    def measure(self, drawn: Drawn) -> Measured:
        from .class_accuracy import class_accuracy

        if drawn.logits is None:
            raise Unmeasurable("the extractor has no classifier")
        if drawn.labels is None:
            raise Unmeasurable("the model is asked for no class")
        return class_accuracy(drawn.logits, drawn.labels)


class CLIPScore(Metric):
    name = "clip_score"
    title = "CLIP score"
    direction = "higher"
    needs_text = True
    about = "100 · cosine of CLIP's embeddings of an image and its prompt; rises with guidance, whatever the images"
    paper = "Hessel et al. 2021, arXiv:2104.08718"

    def measure(self, drawn: Drawn) -> Measured:
        from .clip_score import clip_score

        if drawn.prompts is None:
            raise Unmeasurable("clip_score is of models that are asked in words")
        return clip_score(drawn.features, drawn.text(drawn.prompts))


class CMMD(Metric):
    name = "cmmd"
    title = "CMMD"
    on_features = True
    needs_directions = True
    about = "1,000 · kernel distance of CLIP's embeddings of samples and of real images, Gaussian kernel; unbiased"
    paper = "Jayasumana et al. 2024, arXiv:2401.09603"

    def measure(self, drawn: Drawn) -> Measured:
        from .clip_score import cmmd

        return cmmd(drawn.features, drawn.reference.some_features(self.name))


class FlowError(Metric):
    name = "ode_rmse"
    about = (
        "distance a pixel to the solution of the model's probability-flow ODE from the same x_T at the same time; "
        "says nothing of FID"
    )
    paper = "Song et al. 2021a, arXiv:2011.13456, §4.3"

    def measure(self, drawn: Drawn) -> Measured:
        from .flow_error import flow_error

        return flow_error(drawn)


class StartError(Metric):
    name = "ode_start"
    about = "how far that solution lies from the ODE's from t_max: the price of a grid that starts later"
    paper = "Song et al. 2021a, arXiv:2011.13456, §4.3"

    def measure(self, drawn: Drawn) -> Measured:
        from .flow_error import start_error

        return start_error(drawn)


class VariationalBound(Metric):
    name = "vlb_bpd"
    about = (
        "variational bound on test images, bits a dimension, for samplers that are a chain of Gaussians; "
        "L_0 with the authors' variances; with the VAE's terms where the chain is one of latents"
    )
    paper = "Ho et al. 2020, arXiv:2006.11239, eq. 5"
    needs_images = True

    images = 256

    def measure(self, drawn: Drawn) -> Measured:
        import torch

        from ..diffusion.noise import NoiseSource
        from ..stats.tails import standard_error
        from .bound import LikelihoodCoder, bound_terms, joint_terms

        if drawn.grid.times[-1] != 0:
            raise Unmeasurable("vlb_bpd needs a grid that ends at the data, final=zero")
        if drawn.guided:
            raise Unmeasurable("vlb_bpd is of what the model predicts, without guidance")
        if drawn.unasked is None:
            raise Unmeasurable("vlb_bpd is of a model that can be asked for nothing")
        if drawn.coder is not None and not isinstance(drawn.coder, LikelihoodCoder):
            raise Unmeasurable("vlb_bpd needs the distributions of encoder and decoder, which this model does not have")
        images, shape = drawn.real_images()[: self.images], tuple(drawn.x0.shape[1:])
        parts: list[tuple[torch.Tensor, ...]] = []
        try:
            with torch.no_grad():
                for batch in images.split(128):
                    indices = range(128 * len(parts), 128 * len(parts) + len(batch))
                    noise = NoiseSource(drawn.seed, indices, shape, drawn.device, drawn.dtype)
                    chain = drawn.sampler, drawn.unasked(len(batch)), drawn.grid
                    batch = batch.to(drawn.device)
                    if drawn.coder is None:
                        parts.append(tuple(bound_terms(*chain, batch.to(drawn.dtype) / 127.5 - 1, noise)))
                    else:  # x_T is no noise of the chain's steps, so it is free to draw latents with
                        parts.append(tuple(joint_terms(*chain, drawn.coder, batch, noise.x_T(), noise)))
        except NotImplementedError as error:
            raise Unmeasurable(str(error)) from None
        found = [torch.cat(term).cpu() for term in zip(*parts, strict=True)]
        names = ["-log p(x|z)", "log q(z|x)", "L_T", "L_1 to L_(T-1)", "L_0"][-len(found) :]
        terms = ", ".join(f"{name} {term.mean():.4g}" for name, term in zip(names, found, strict=True))
        drawn.notice(f"vlb_bpd of {drawn.sampler.spec()} in {drawn.grid.steps} steps: {terms} bits a dimension")
        bits = torch.stack(found).sum(dim=0).numpy()
        influences = bits - bits.mean()
        se, note = standard_error(influences)
        return Measured(float(bits.mean()), se, len(bits), influences, note=note)


@hookimpl
def samplerbench_metrics(register):  # type: ignore[no-untyped-def]
    features = (FID, FIDInfinity, KID, Precision, Recall, InceptionScore, ClassAccuracy, CMMD)
    for metric in (*features, CLIPScore, FlowError, StartError, VariationalBound):
        register(metric)
