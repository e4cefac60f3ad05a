"""What `overpaint demo` shows: one repainted picture, and a contact sheet of what strength and prompt do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from ...errors import OutputError
from ..imaging.hints import canny
from ..imaging.output import check_writable, write
from ..imaging.picture import Picture
from ..imaging.picture import read as read_picture
from ..imaging.sheet import Row, contact_sheet
from ..model.shipped import MODELS
from ..pipeline import Pipeline, load
from ..requests.controls import Control
from ..requests.image_prompts import ImagePrompt

EXAMPLES = MODELS / "examples"
PICTURE, CONCEPT, OWN_STYLE = "fox.png", "fox", "twemoji"
STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
STYLES = ("noto", "flat", "twemoji", "contrast", "ink", "sketch")
SKETCH, SKETCH_PROMPT = "house-sketch.png", "house, noto style"
HALF, RISING = "masks/fox-right.png", "masks/left-to-right.png"
FILES = ("repainted.png", "contact-sheet.png")
TRACED, TRACED_CONCEPT = "rocket.png", "rocket"
# The columns of the picture that outpainting is given; the rest it has to find.
CUT = 40


def demo(folder: Path) -> Iterator[str]:
    """Write `repainted.png` and `contact-sheet.png` into `folder`; yields lines to print as it goes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"{folder}: cannot be made ({exc.strerror}); choose another folder") from exc
    repainted, sheet = (folder / name for name in FILES)
    for path in (repainted, sheet):
        check_writable(path)
    start = time.perf_counter()
    pipe = load()
    result = pipe(EXAMPLES / PICTURE, f"{CONCEPT}, ink style", seed=7)
    write(repainted, result.images[0], result.outputs[0].parameters)
    yield f"{repainted}: {CONCEPT}, ink style, {time.perf_counter() - start:.1f} s with loading"
    write(sheet, contact_sheet(_rows(pipe), title="overpaint"), None)
    yield f"{sheet}: a row of strengths, a row of styles, a sketch rendered, rows of edits and adapters"


def _rows(pipe: Pipeline) -> list[Row]:
    source, own = read_picture(EXAMPLES / PICTURE), pipe.bundle.model.defaults["img2img"]
    sketch = read_picture(EXAMPLES / SKETCH)

    def paint(image: Picture, prompt: str, strength: float | None = None) -> Image.Image:
        return pipe(image, prompt, strength=strength, seed=7).images[0]

    strengths = [(f"strength {strength}", paint(source, f"{CONCEPT}, ink style", strength)) for strength in STRENGTHS]
    styles = [(style, paint(source, f"{CONCEPT}, {style} style")) for style in STYLES]
    rendered = [(f"strength {strength}", paint(sketch, SKETCH_PROMPT, strength)) for strength in STRENGTHS]
    return [
        Row(f"{CONCEPT}, ink style", [("input", source.image), *strengths]),
        Row(
            f"{CONCEPT}, ... style; strength {own.strength:g}",
            [("input", source.image), *styles],
        ),
        Row(SKETCH_PROMPT, [("input", sketch.image), *rendered]),
        Row("edits: inpainting, a strength a pixel, outpainting, upscaling", _edits(pipe, source)),
        Row("adapters: a ControlNet holds edges, an image prompt gives its style", _adapted(pipe, source)),
    ]


def _edits(pipe: Pipeline, source: Picture) -> list[tuple[str, Image.Image]]:
    ink, width = f"{CONCEPT}, ink style", source.size[0]
    half = pipe.inpaint(source, EXAMPLES / HALF, ink, strength=0.8, blur=2.0, seed=7)
    rising = pipe.inpaint(source, EXAMPLES / RISING, ink, strength=0.9, levels="strength", seed=7)
    cut = Picture(source.pixels[:, :CUT].copy())
    grown = pipe.outpaint(cut, f"{CONCEPT}, {OWN_STYLE} style", right=width - CUT, overlap=6, seed=7)
    # Without a prompt, or every tile would hold a fox of its own.
    large = pipe.upscale(source, scale=4, seed=7)
    compact = pipe.upscale(source, scale=4, upscaler="compact", strength=0.0)
    lanczos = source.image.resize(large.images[0].size, Image.Resampling.LANCZOS)
    return [
        ("right half", half.images[0]),
        ("left to right", rising.images[0]),
        ("cut", cut.image),
        ("outpainted", grown.images[0]),
        ("Lanczos 4x", lanczos),
        ("upscaled 4x", large.images[0]),
        ("compact 4x", compact.images[0]),
    ]


def _adapted(pipe: Pipeline, source: Picture) -> list[tuple[str, Image.Image]]:
    traced, sketch = (read_picture(EXAMPLES / name) for name in (TRACED, SKETCH))

    def held(style: str) -> Image.Image:
        prompt = f"{TRACED_CONCEPT}, {style} style"
        return pipe(traced, prompt, strength=1.0, controls=(Control("edges"),), seed=3).images[0]

    def styled(picture: Image.Image) -> Image.Image:
        prompt = ImagePrompt(read_picture(picture), 0.75)
        return pipe(source, CONCEPT, strength=1.0, image_prompts=(prompt,), seed=7).images[0]

    rockets = [(style, held(style)) for style in ("noto", "flat", "ink")]
    return [
        ("edges", Image.fromarray(canny(traced.pixels, 100, 200))),
        *rockets,
        (f"{CONCEPT}, style of the left", styled(rockets[-1][1])),
        ("image prompt", sketch.image),
        (f"{CONCEPT}, style of the left", styled(sketch.image)),
    ]
