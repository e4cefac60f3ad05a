"""A folder's pictures: what is found, named, done, done again and skipped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from overpaint import InputError, Pipeline
from overpaint.bundles.tensor import Array
from overpaint.engines.base import Engine
from overpaint.engines.wrapper import Wrapper
from overpaint.runtime.denoising.loop import Step
from overpaint.runtime.imaging.output import write
from overpaint.runtime.requests.result import Output
from overpaint.runtime.tools.batch import Batch, Painted, Settings
from overpaint.runtime.tools.folder import JOURNAL, Item, Journal, Skipped, caption, check_folder, find, name, plan

OPTIONS = {"steps": 4, "guidance_scale": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pictures of two sizes, a file that is none, and one in a folder."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for place, size in {"a": 40, "b": 48, "c": 40, "d": 48, "deep/e": 40}.items():
        Image.fromarray(rng.integers(0, 256, (40, size, 3), np.uint8)).save(folder / f"{place}.png")
    (folder / "bad.jpg").write_bytes(b"no picture")
    (folder / "notes.md").write_text("no picture either")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


def work(
    pipe: Pipeline, folder: Path, prompt: str = "a", *, n: int = 1, together: int = 8, **options: Any
) -> list[Any]:
    """Do a folder's work; what was painted and skipped."""
    out = folder.parent / "out"
    check_folder(out)
    settings = Settings(prompt, {**OPTIONS, **options}, n=n, seed=3)
    sources = find(folder, out)
    journal = Journal(out)
    planned = list(plan(sources, name(sources, folder, out, ".png", n), prompt, [settings.options, n], journal))
    items = [item for item in planned if isinstance(item, Item)]

    def save(path: Path, made: Output) -> None:
        write(path, made.image)

    batch = Batch(pipe.model, items, settings, journal, save, together)
    events = list(batch)
    skipped = [item for item in planned if isinstance(item, Skipped)]
    assert all(isinstance(event, Step | Painted | Skipped) for event in events)
    return skipped + [event for event in events if not isinstance(event, Step)]


def painted(events: list[Any]) -> list[str]:
    return sorted(event.path.name for event in events if isinstance(event, Painted))


class TestFinding:
    def test_pictures_by_their_endings_without_hidden_files(self, folder: Path) -> None:
        found = find(folder, folder.parent / "out")
        assert [path.name for path in found] == ["a.png", "b.png", "bad.jpg", "c.png", "d.png"]

    def test_with_recursion_but_not_among_the_results(self, folder: Path) -> None:
        out = folder / "out"
        out.mkdir()
        Image.new("RGB", (8, 8)).save(out / "old.png")
        found = [path.relative_to(folder).as_posix() for path in find(folder, out, recursive=True)]
        assert found == ["a.png", "b.png", "bad.jpg", "c.png", "d.png", "deep/e.png"]

    @pytest.mark.parametrize(
        ("place", "out", "cause"),
        [("no", "o", "is no folder"), ("in", "in", "own folder"), ("in/none", "o", "no pict")],
    )
    def test_folders_that_cannot_be(self, folder: Path, place: str, out: str, cause: str) -> None:
        (folder / "none").mkdir()
        with pytest.raises(InputError, match=cause):
            find(folder.parent / place, folder.parent / out)

    def test_a_folder_for_results_that_cannot_be_made_or_written(self, folder: Path) -> None:
        with pytest.raises(Exception, match="cannot be made"):
            check_folder(folder / "a.png")


class TestNames:
    def test_pictures_that_differ_in_their_endings_alone_keep_them(self) -> None:
        sources = [Path("in", place) for place in ("a.png", "A.jpg", "b.png", "deep/a.png")]
        named = name(sources, Path("in"), Path("out"), ".webp")
        assert [path.as_posix() for (path,) in named] == [
            "out/a.png.webp", "out/A.jpg.webp", "out/b.webp", "out/deep/a.webp",
        ]  # fmt: skip

    def test_several_images_are_numbered(self) -> None:
        assert name([Path("in/a.png")], Path("in"), Path("out"), ".png", 2) == [
            [Path("out/a-0001.png"), Path("out/a-0002.png")]
        ]

    @pytest.mark.parametrize("places", [("a.png", "a.jpg", "a.png.bmp"), ("A.png", "a.png")])
    def test_paths_that_still_collide_are_named(self, places: tuple[str, ...]) -> None:
        with pytest.raises(InputError, match="would both become"):
            name([Path("in", place) for place in places], Path("in"), Path("out"), ".png")

    @given(st.sets(st.builds("{}.{}".format, st.text("ab", min_size=1, max_size=3), st.sampled_from(["png", "jpg"]))))
    def test_no_two_pictures_have_one_path(self, places: set[str]) -> None:
        named = name([Path("in", place) for place in sorted(places)], Path("in"), Path("out"), ".png", 2)
        assert len({path for own in named for path in own}) == 2 * len(places)


class TestCaptions:
    def test_the_text_beside_a_picture_is_its_prompt(self, folder: Path) -> None:
        (folder / "a.txt").write_text(" a cat, 猫\n", encoding="utf-8")
        (folder / "b.txt").write_text("\n")
        assert caption(folder / "a.png", "fox") == "a cat, 猫"
        assert caption(folder / "b.png", "fox") == "fox"
        assert caption(folder / "c.png", "fox") == "fox"

    def test_one_that_is_no_text_skips_its_picture(self, fake: Pipeline, folder: Path) -> None:
        (folder / "a.txt").write_bytes(b"\xff\xfe\x00")
        events = work(fake, folder)
        assert painted(events) == ["b.png", "c.png", "d.png"]
        assert any("a.txt: cannot be read" in event.reason for event in events if isinstance(event, Skipped))

    def test_a_broken_one_skips_its_picture(self, fake: Pipeline, folder: Path) -> None:
        (folder / "a.txt").write_text("(a")
        assert painted(work(fake, folder)) == ["b.png", "c.png", "d.png"]


class Counted(Wrapper):
    """An engine that counts its calls' rows, and gives NaN for pictures whose prompt is the nonfinite one."""

    def __init__(self, engine: Engine, spoil: int = 0) -> None:
        super().__init__(engine)
        self.rows: list[int] = []
        self.spoil = spoil

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        outputs = super().__call__(feeds)
        self.rows.append(len(feeds["sample"]))
        if self.spoil and feeds["encoder_hidden_states"].shape[1] > self.spoil:
            return {key: np.full_like(value, np.nan) for key, value in outputs.items()}
        return outputs


class TestWork:
    def test_a_bad_file_is_skipped_and_the_rest_goes_on(self, fake: Pipeline, folder: Path) -> None:
        events = work(fake, folder)
        assert painted(events) == ["a.png", "b.png", "c.png", "d.png"]
        assert [event.source.name for event in events if isinstance(event, Skipped)] == ["bad.jpg"]
        alone = fake(folder / "c.png", "a", seed=3, **OPTIONS).images[0]
        assert np.array_equal(np.asarray(Image.open(folder.parent / "out/c.png")), np.asarray(alone))

    def test_pictures_of_one_size_share_calls(self, fake: Pipeline, folder: Path) -> None:
        counted = fake.denoiser.engine = Counted(fake.denoiser.engine)
        work(fake, folder)
        assert set(counted.rows) == {2}

    def test_what_is_done_is_not_done_again(self, fake: Pipeline, folder: Path) -> None:
        work(fake, folder, n=2)
        out = folder.parent / "out"
        (out / "b-0002.png").unlink()
        Image.new("RGB", (40, 40)).save(folder / "c.png")
        assert painted(work(fake, folder, n=2)) == ["b-0002.png", "c-0001.png", "c-0002.png"]
        assert painted(work(fake, folder, n=2)) == []
        assert len(painted(work(fake, folder, n=2, strength=0.5))) == 8
        (folder / "a.txt").write_text("b")
        assert painted(work(fake, folder, n=2, strength=0.5)) == ["a-0001.png", "a-0002.png"]

    def test_a_stop_in_the_middle_of_a_line_loses_only_that_line(self, fake: Pipeline, folder: Path) -> None:
        work(fake, folder, together=1)
        journal = folder.parent / "out" / JOURNAL
        lines = journal.read_text().splitlines()
        # A name is claimed before its file is written: with d's line of what was written cut, and c's lost with it.
        claims, written = ([line for line in lines if ("claimed" in line) is kind] for kind in (True, False))
        journal.write_text("\n".join([*claims, *written[:2], written[3][:30]]))
        assert len(painted(work(fake, folder))) == 2
        assert painted(work(fake, folder)) == []
        broken = [line for line in journal.read_text().splitlines() if not line.endswith("}")]
        assert len(broken) == 1

    def test_names_as_long_as_can_be_and_one_that_gets_too_long(self, fake: Pipeline, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        for length in (241, 255):
            Image.new("RGB", (40, 40)).save(tmp_path / "in" / ("x" * (length - 4) + ".png"))
        events = work(fake, tmp_path / "in")
        assert [len(name_) for name_ in painted(events)] == [241, 255]
        assert painted(work(fake, tmp_path / "in")) == []
        events = work(fake, tmp_path / "in", n=2)
        assert [len(name_) for name_ in painted(events)] == [246, 246]
        assert any("File name too long" in event.reason for event in events if isinstance(event, Skipped))

    def test_a_file_that_it_did_not_write_is_skipped(self, fake: Pipeline, folder: Path) -> None:
        out = folder.parent / "out"
        out.mkdir()
        for name_ in ("b-0002.png", "c-0001.png"):
            (out / name_).write_bytes(b"somebody's")
        (out / "d-0001.png").symlink_to("nowhere.png")
        events = work(fake, folder, n=2)
        assert painted(events) == ["a-0001.png", "a-0002.png", "b-0001.png", "c-0002.png", "d-0002.png"]
        reasons = [
            event.reason for event in events if isinstance(event, Skipped) and "did not write it" in event.reason
        ]
        assert len(reasons) == 3
        assert (out / "b-0002.png").read_bytes() == (out / "c-0001.png").read_bytes() == b"somebody's"
        assert not (out / "nowhere.png").exists()
        (out / "b-0002.png").unlink()
        assert painted(work(fake, folder, n=2)) == ["b-0002.png"]

    def test_after_a_stop_between_file_and_journal_it_knows_its_own(self, fake: Pipeline, folder: Path) -> None:
        def stop(self: Journal, path: Path, key: str) -> None:
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Journal, "add", stop)
            with pytest.raises(KeyboardInterrupt):
                work(fake, folder)
        assert [path.name for path in (folder.parent / "out").glob("*.png")] == ["a.png"]
        assert painted(work(fake, folder)) == ["a.png", "b.png", "c.png", "d.png"]

    @pytest.mark.parametrize(
        "line", ['{"path": [], "key": "x"}', '{"seed": "x"}', '{"claimed": [[]]}', '{"claimed": 1}', "[" * 100_000, "3"]
    )
    def test_a_damaged_line_of_the_journal_is_passed_over(self, fake: Pipeline, folder: Path, line: str) -> None:
        (folder.parent / "out").mkdir()
        (folder.parent / "out" / JOURNAL).write_text(f"{line}\n")
        assert len(painted(work(fake, folder))) == 4
        assert painted(work(fake, folder)) == []
        assert isinstance(Journal(folder.parent / "out").drawn_seed(), int)

    def test_a_picture_that_the_model_fails_at_is_skipped_alone(self, fake: Pipeline, folder: Path) -> None:
        fake.denoiser.engine = Counted(fake.denoiser.engine, spoil=16)
        (folder / "a.txt").write_text("a " * 20)  # two windows of 16 tokens
        events = work(fake, folder)
        assert painted(events) == ["b.png", "c.png", "d.png"]
        assert any("NaN" in event.reason for event in events if isinstance(event, Skipped))

    def test_one_that_the_model_cannot_take_is_skipped(self, fake: Pipeline, folder: Path) -> None:
        Image.new("RGB", (2000, 40)).save(folder / "b.png")
        events = work(fake, folder)
        assert painted(events) == ["a.png", "c.png", "d.png"]
        assert any("2000x40" in event.reason for event in events if isinstance(event, Skipped))

    @pytest.mark.parametrize(
        ("options", "cause"),
        [
            ({"sampler": "eulr"}, "did you mean"),
            ({"strength": 0.01}, "less than one step"),
            ({"magic": 1}, "unknown opt"),
        ],
    )
    def test_options_that_no_picture_could_have_end_it(
        self, fake: Pipeline, folder: Path, options: dict[str, Any], cause: str
    ) -> None:
        with pytest.raises(InputError, match=cause):
            work(fake, folder, **options)

    def test_a_broken_prompt_ends_it(self, fake: Pipeline, folder: Path) -> None:
        with pytest.raises(InputError, match="\\^"):
            work(fake, folder, "(a")

    def test_few_pictures_are_held_though_all_sizes_differ(self, fake: Pipeline, folder: Path) -> None:
        for index in range(12):
            Image.new("RGB", (40 + index, 40)).save(folder / f"s{index:02}.png")
        assert len(painted(work(fake, folder, together=2))) == 16

    def test_a_drawn_seed_is_kept_for_the_folder(self, tmp_path: Path) -> None:
        drawn = Journal(tmp_path).drawn_seed()
        assert Journal(tmp_path).drawn_seed() == drawn
        assert json.loads((tmp_path / JOURNAL).read_text()) == {"seed": drawn}

    def test_a_variation_needs_no_luck_to_be_made_again(self, picture: Array) -> None:
        import overpaint

        settings = Settings("a", {"variation_strength": 0.2}, n=2, seed=7)
        asked = [settings.requests(overpaint.read(picture), "a") for _ in range(2)]
        assert [(r.seed, r.variation_seed) for r in asked[0]] == [(7, 8), (7, 9)]
        assert [r.variation_seed for r in asked[1]] == [8, 9]
