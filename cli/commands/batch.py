"""The command that repaints the pictures of a folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import counted
from ..adapters import adapter_hashes, lora_hashes
from ..arguments import add_options
from ..common import (
    PARTLY,
    add_engine,
    add_limit,
    add_preset,
    add_request,
    add_sampling,
    add_saving,
    add_sizes,
    add_together,
    add_variation,
)
from ..console import Console, add_console
from ..controls import add_controls
from ..infotext import add_infotext
from ..prompts import add_prompt, add_prompting, embedding_hashes, teach
from ..saving import save
from ..values import ending

if TYPE_CHECKING:
    from ...runtime.requests.result import Output
    from ...runtime.tools.folder import Skipped


def batch(
    folder: Path,
    prompt: str,
    output: Path,
    recursive: bool,
    suffix: str | None,
    n: int,
    together: int,
    seed: int | None,
    negative_prompt: str,
    embeddings: list[Path],
    quality: int,
    strip_metadata: bool,
    overwrite: bool,
    max_pixels: int,
    model: str,
    engine: dict[str, Any],
    console: Console,
    **options: Any,
) -> int:
    """Repaint every picture of a folder. A second run does what is missing or asked for otherwise; a picture that
    cannot be repainted is skipped. The text in a.txt is the prompt of a.png; a folder that a control or an image prompt
    names has each picture's own, by the pictures' names."""
    from ...bundles.manifest import Bundle
    from ...runtime.model.load import find as find_bundle
    from ...runtime.requests.defaults import values
    from ...runtime.tools.batch import Settings
    from ...runtime.tools.folder import Item, Journal, caption, check_folder, find, name, plan
    from ..naming import folder_and_pattern, named

    bundle = Bundle.read(find_bundle(model), verify=False)
    options = values(options, bundle.model.defaults["img2img"])
    settings = Settings(prompt, options, negative_prompt, n, seed or 0, folder)
    output, pattern = folder_and_pattern(output, suffix)
    sources = find(folder, output, recursive)
    if not pattern:
        paths = name(sources, folder, output, suffix or ".png", n)
    check_folder(output)
    journal = Journal(output)
    if seed is None:
        settings = replace(settings, seed=journal.drawn_seed())
    if pattern:
        paths = named(pattern, sources, folder, output, settings, bundle.model.default_sampler, model)
    hashes = [graph.sha256 for graph in bundle.graphs.values()]
    hashes += adapter_hashes(options, engine)
    wanted = [hashes, settings.key(), embedding_hashes(embeddings), quality, strip_metadata]
    loras = lora_hashes(options, engine)

    def others(source: Path) -> list[str]:
        return [*settings.own(source), *loras(f"{caption(source, prompt)} {negative_prompt}")]

    planned = list(plan(sources, paths, prompt, wanted, journal, overwrite, others))
    items = [item for item in planned if isinstance(item, Item)]
    skipped = [_skip(console, item) for item in planned if not isinstance(item, Item)]
    older = {path for item in items for path, _ in item.todo.values() if journal.made(path)}
    written: list[Path] = []
    if any(item.todo for item in items):

        def write(path: Path, made: Output) -> None:
            save(console, path, made, quality, strip_metadata)
            written.append(path)

        work = items, settings, journal, write, together
        skipped += _worked(console, model, engine, embeddings, max_pixels, *work)
    passed = len({each.source for each in skipped})
    console.add(skipped=[{"path": str(each.source), "reason": each.reason} for each in skipped])
    replaced = len(older.intersection(written))
    if replaced:
        subject = "1 image that this batch wrote with another input, prompt or options was"
        several = f"{replaced} images that this batch wrote with another input, prompt or options were"
        console.note(f"note: {subject if replaced == 1 else several} replaced")
    kind = "" if n == 1 else " images"
    again = f" ({replaced} replaced)" if replaced else ""
    console.say(
        f"{counted(len(sources), 'picture')}: {len(written)}{kind} written{again}, "
        f"{sum(item.there for item in items)}{kind} already there, {passed} skipped"
    )
    return PARTLY if skipped else 0


def _worked(
    console: Console, model: str, engine: dict[str, Any], embeddings: list[Path], max_pixels: int, *work: Any
) -> list[Skipped]:
    """Load the model and do a batch's work, with a bar that says how long it will take; what was skipped."""
    from tqdm import tqdm

    from ...runtime.denoising.loop import Step
    from ...runtime.pipeline import load
    from ...runtime.tools.batch import Batch
    from ...runtime.tools.folder import Skipped

    pipe = load(model, **engine)
    pipe.max_pixels = max_pixels
    teach(pipe, embeddings)
    batch = Batch(pipe.model, *work)
    skipped = []
    with tqdm(total=batch.total, unit="eval", disable=not console.bars, leave=False) as bar:
        for event in batch:
            if isinstance(event, Step):
                bar.update()
            elif isinstance(event, Skipped):
                skipped.append(_skip(console, event))
    return skipped


def _skip(console: Console, skipped: Skipped) -> Skipped:
    console.note(f"{skipped.source} skipped: {skipped.reason.removeprefix(f'{skipped.source}: ')}")
    return skipped


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser("batch", help="repaint the pictures of a folder", description=batch.__doc__)
    parser.set_defaults(command=batch)
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="pictures to repaint")
    add_prompt(parser, "what they shall become, where no a.txt beside a.png says it")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUTFOLDER",
        type=Path,
        required=True,
        help="where results go, or OUTFOLDER/PATTERN.png",
    )
    parser.add_argument("--recursive", action="store_true", help="go into the folder's folders too")
    parser.add_argument("--format", dest="suffix", choices=(".png", ".jpg", ".webp"), type=ending, help="(png)")
    of_first = "of each picture's first image; -1 draws one (drawn once for the folder)"
    add_options(parser, "img2img", "seed", help=of_first)
    add_options(parser, "img2img", "n")
    add_together(parser)
    add_sizes(parser)
    add_variation(parser)
    add_sampling(parser)
    add_prompting(parser, folders=True)
    add_controls(parser, folders=True)
    add_request(parser)
    add_options(parser, "img2img", "colour_match")
    add_preset(parser, "batch")
    add_infotext(parser)
    add_limit(parser)
    add_saving(parser)
    add_engine(parser)
    add_console(parser)
