"""What all reducers share: the registry's entry, its options, the task that it is priced for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, ClassVar, Literal, Self

from msgspec import Struct, ValidationError, convert, json
from msgspec.structs import fields, replace

from roofline.errors import ScenarioError, UnknownNameError
from roofline.model.block import Block, LayerGroup, labelled
from roofline.model.op import Op
from roofline.model.polynomial import Number
from roofline.reducers.token_schedules import Schedule
from roofline.registry import Registry
from roofline.specs.models import LanguageModel, View, VisionEncoder

Site = Literal["features", "vision", "llm"]
"""Where a reducer acts: on the final visual features, inside the ViT's blocks, inside the LLM."""

CostOrigin = Literal["stated", "traced", "none"]
"""Of a reducer's own work: its file says what it costs, or its code is traced, or nobody knows."""

OWN_METHODS: Registry[Mapping[str, Any]] = Registry("method of one's own")
"""How reducers that users have registered are done: keywords of the torch side's `Method`."""
TRACERS: Registry[Callable[..., Sequence[Block]]] = Registry(
    "tracer", "roofline.torch_side.reduce.traced"
)
"""What makes ops out of a method's code, where torch is installed."""

LLAVA_PATCHES = 576
"""Patches of LLaVA-1.5's encoder, of which papers give their counts."""
LLAVA_BLOCKS = 23
"""Blocks of it that run."""


class ReductionTask(Struct, frozen=True):
    """An LMM, and how many visual tokens a reducer is to leave."""

    vision: VisionEncoder
    blocks: int
    """ViT blocks behind the features."""
    images: Number
    """Images of the whole batch."""
    candidates: int
    """Visual tokens that it chooses among: the patches of one image, or for `llm` all that one
    sequence has.
    """
    kept: int
    """Those that come out, merged ones included."""
    llm: LanguageModel
    batch: Number
    prompt: Number
    """Tokens of one sequence that enter the LLM."""
    view: View | None = None
    """Shape of the images. Left out: the encoder's own."""
    merged: bool = False
    """Whether it chooses among rows that the connector has merged patches into."""

    @property
    def patches(self) -> int:
        """Of one image; where they are merged, rows that the connector makes of them."""
        return self.candidates if self.merged else self.shape.patches

    @property
    def class_token(self) -> bool:
        """Whether there is one beside what it chooses among."""
        return self.vision.class_token and not self.merged

    @property
    def tokens(self) -> int:
        """That attend to each other: of merged rows their patches alone."""
        return self.shape.patches if self.merged else self.vision.sequence(self.shape)

    @property
    def feature_width(self) -> int:
        """Of what it chooses among."""
        return self.llm.hidden_size if self.merged else self.width

    @property
    def ranks_ahead(self) -> bool:
        """Whether the block behind the features, by whose attention some rank, does not run."""
        return self.blocks < self.vision.num_hidden_layers

    @property
    def shape(self) -> View:
        """Of the images."""
        return self.view or self.vision.view

    @property
    def width(self) -> int:
        return self.vision.hidden_size

    @property
    def heads(self) -> int:
        return self.vision.num_attention_heads

    @property
    def head_size(self) -> int:
        return self.vision.head_size


class Reducer(Struct, frozen=True):
    """A method: where it acts, what it leaves, what it costs. Its fields are its options.

    The formulas are those of the implementation in `roofline.torch_side.reduce.methods`, matmul by
    matmul and launch by launch. N patches and T tokens an image, C the ViT's width, K tokens
    selected, d the width of the LLM's queries.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    """Paper that describes it."""
    site: ClassVar[Site]
    default_source: ClassVar[str]
    """Where `default_kept` is from."""
    connects_all: ClassVar[bool] = False
    """Whether the connector runs on all patches, before anything is dropped."""
    by_position: ClassVar[bool] = False
    """Whether it chooses without a look at the picture."""
    by_picture: ClassVar[bool] = False
    """Whether the picture decides how many tokens are left even of a count: that is the most."""
    count_options: ClassVar[frozenset[str]] = frozenset()
    """Options that say how many tokens are left: no count goes beside them."""
    unplaced: ClassVar[str] = "merged"
    """What those of its tokens are that belong to no single patch."""
    merges_untraced: ClassVar[bool] = False
    """Whether it merges in a way that leaves no record of what went where."""
    note: ClassVar[str] = ""
    """What to know of it beside a picture of what it keeps."""

    def default_kept(self, candidates: int, blocks: int) -> int:
        """Visual tokens usually left of those that it chooses among, behind `blocks` ViT blocks."""
        raise NotImplementedError

    def most_kept(self, candidates: int) -> int:
        """The most that it can leave of so many."""
        return candidates

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """Its own work, for the features of all images.

        Left out by a method of one's own, it is traced from its code; nothing where there is none.
        """
        if self.cost != "traced":
            return ()
        try:
            trace = TRACERS.find("meta")
        except ModuleNotFoundError as error:
            raise ScenarioError(
                f"{self.name} states no cost, and tracing its code needs {error.name}: give it "
                f"`extra_ops`, or pip install '.[profile]'"
            ) from None
        return trace(OWN_METHODS.find(self.name), self, task)

    def launches(self, task: ReductionTask) -> int:
        """Kernels that its own work issues, wherever it acts."""
        return sum(block.count * op.launches for block in self.extra_ops(task) for op in block.ops)

    def waits(self, task: ReductionTask) -> int:
        """Times that the host reads a number back meanwhile."""
        return sum(block.count * op.waits for block in self.extra_ops(task) for op in block.ops)

    @property
    def cost(self) -> CostOrigin:
        """Where `extra_ops` are from."""
        if type(self).extra_ops is not Reducer.extra_ops:
            return "stated"
        return "traced" if self.name in OWN_METHODS else "none"

    @property
    def needs_count(self) -> bool:
        """Whether it cannot decide by itself how many tokens are left."""
        return True

    @property
    def least(self) -> int:
        """Fewest visual tokens that it can leave of an image."""
        return 1

    @property
    def full_llm_layers(self) -> int:
        """For `llm`: layers that still see all visual tokens."""
        return 0

    def vision_groups(self, task: ReductionTask) -> tuple[LayerGroup, ...]:
        """What the ViT's blocks see."""
        return (LayerGroup(task.blocks, float(task.tokens)),)

    def check(self, task: ReductionTask) -> None:
        """Raise ScenarioError for a task that the method cannot do."""
        of = "a sequence" if self.site == "llm" else f"an image of {task.vision.name}"
        most = self.most_kept(task.candidates)
        if not self.least <= task.kept <= most:
            raise ScenarioError(
                f"{self.label} leaves {self.least} to {most} visual tokens of {of}, not {task.kept}"
            )
        own = self.default_kept(task.candidates, task.blocks)
        if self.settles_count and (task.kept > own if self.by_picture else task.kept != own):
            raise ScenarioError(
                f"{self.label} leaves {own} visual tokens of {of}, not {task.kept}: "
                "give the option or the number"
            )

    @property
    def settles_count(self) -> bool:
        """Whether chosen options say how many tokens are left."""
        return not self.count_options.isdisjoint(self.chosen)

    # options ------------------------------------------------------------------------------------

    @property
    def options(self) -> dict[str, Any]:
        """Names and values of all options."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @property
    def chosen(self) -> Mapping[str, Any]:
        """Those that differ from their defaults."""
        defaults = dict(zip(self.__struct_fields__, self.__struct_defaults__, strict=True))
        return {name: value for name, value in self.options.items() if value != defaults[name]}

    @property
    def label(self) -> str:
        """Name and chosen options as `reducers.find` reads them: `fastv:k=3`."""
        return ":".join([self.name, *(f"{k}={written(v)}" for k, v in self.chosen.items())])

    def with_options(self, **options: Any) -> Self:
        """The same with other options. Raises UnknownNameError, ScenarioError."""
        return replace(self, **{k: self._option(k, v, strict=True) for k, v in options.items()})

    def parsed(self, options: Sequence[str]) -> Self:
        """The same with options as text, `option=value` each. Raises as `with_options`."""
        values: dict[str, Any] = {}
        for option in options:
            name, equals, value = option.partition("=")
            if not equals:
                raise ScenarioError(
                    f"{self.name}: an option is written {self.name}:option=value, not {option!r}"
                )
            if name in values:
                raise ScenarioError(f"{self.name}: the option {name} is given twice: give it once")
            values[name] = self._option(name, value, strict=False)
        return replace(self, **values)

    def unknown_option(self, option: str, besides: Sequence[str] = ()) -> ScenarioError | Exception:
        """The error for an option that is not there; `besides` are others that would do."""
        known = [*self.options, *besides]
        if option == "count":
            return ScenarioError(
                f"{self.name}: how many visual tokens are left is no option: ask for visual tokens"
            )
        if not known:
            return ScenarioError(f"{self.name} takes no options: leave {option!r} out")
        return UnknownNameError(f"option of {self.name}", option, known)

    def _option(self, name: str, value: Any, *, strict: bool) -> Any:
        """An option's value, from text unless `strict`."""
        kind = next((field.type for field in fields(self) if field.name == name), None)
        if kind is None:
            raise self.unknown_option(name)
        candidates = [value]
        if not strict:
            candidates = [None if value.lower() == "none" else value, value.split(",")]
        for candidate in candidates:
            with suppress(ValidationError):
                return convert(candidate, kind, strict=strict)
        raise ScenarioError(f"{self.name}: `{name}` must be {expected(kind)}, not {value!r}")


class VisionReducer(Reducer, frozen=True):
    """A method inside the ViT's blocks."""

    site = "vision"
    materialises: ClassVar[bool] = False
    """Whether the blocks that reduce need attention's probabilities in memory."""
    samples_queries: ClassVar[bool] = False
    """Whether the blocks that reduce compute attention for the tokens that stay alone."""

    @property
    def needs_count(self) -> bool:
        """Its schedule decides."""
        return False

    def plan(self, tokens: int, blocks: int, count: int | None) -> Schedule:
        """`schedule` of a count, or of the options alone."""
        raise NotImplementedError

    def schedule(self, tokens: int, blocks: int, count: int | None = None) -> Schedule:
        """Tokens in attention and MLP of each block, class token included.

        count: visual tokens to be left; left out, or where the options leave as many anyway, they
        decide. Raises ScenarioError.
        """
        own = self.plan(tokens, blocks, None)
        return own if count in (None, own[-1][1] - 1) else self.plan(tokens, blocks, count)

    def start_op(self, task: ReductionTask) -> Op:
        """Own work before the first block."""
        raise NotImplementedError

    def stage_ops(self, task: ReductionTask, before: int, after: int) -> Sequence[Op]:
        """Own work in one block that gets `before` tokens and leaves `after`."""
        raise NotImplementedError

    def stages_in(self, schedule: Schedule) -> list[bool]:
        """Which blocks have own work: those that leave fewer tokens than they get."""
        return [after < before for before, after in schedule]

    def default_kept(self, patches: int, blocks: int) -> int:
        """What the schedule of its options leaves."""
        return self.schedule(1 + patches, blocks)[-1][1] - 1

    def check(self, task: ReductionTask) -> None:
        """As all do; and it needs a class token."""
        if not task.vision.class_token:
            raise ScenarioError(
                f"{self.name} needs a class token, which {task.vision.name} has not: take a "
                "reducer of final features"
            )
        super().check(task)

    def vision_groups(self, task: ReductionTask) -> tuple[LayerGroup, ...]:
        """What the blocks see. Raises ScenarioError for counts that the method cannot reach."""
        return tuple(
            LayerGroup(
                layers=len(list(group)),
                tokens=float(before),
                mlp_tokens=float(after),
                query_tokens=float(after if self.samples_queries else before),
                materialised=self.materialises and after < before,
            )
            for (before, after), group in groupby(
                self.schedule(task.tokens, task.blocks, task.kept)
            )
        )

    def extra_ops(self, task: ReductionTask) -> Sequence[Block]:
        """Before the first block; then a block a run of ViT blocks that do the same work."""
        schedule = self.schedule(task.tokens, task.blocks, task.kept)
        stages = zip(schedule, self.stages_in(schedule), strict=True)
        runs = [(*key, len(list(group))) for key, group in groupby(stages)]
        groups = [LayerGroup(count, float(before)) for (before, _), _, count in runs]
        return [
            Block(1, (self.start_op(task),)),
            *(
                Block(count, tuple(self.stage_ops(task, *tokens)), label)
                for (tokens, works, count), (_, label) in zip(runs, labelled(groups), strict=True)
                if works
            ),
        ]


def paper_share(tokens: int, patches: int) -> int:
    """As many of the patches as `tokens` are of LLaVA-1.5's 576, at least two."""
    return max(2, round(tokens / LLAVA_PATCHES * patches))


def written(value: Any) -> str:
    if value is None:
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def expected(kind: Any) -> str:
    """What a type takes, in words."""
    schema = json.schema(kind)
    return " or ".join(map(_one_of, schema.get("anyOf", [schema])))


def _one_of(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if schema["type"] == "array":
        return "whole numbers with commas between them"
    words = {"integer": "a whole number", "number": "a number", "null": "none"}
    word = words.get(schema["type"], "text")
    limits = {
        "minimum": "at least", "exclusiveMinimum": "above",
        "maximum": "at most", "exclusiveMaximum": "below",
    }  # fmt: skip
    bounds = [f"{text} {schema[key]:g}" for key, text in limits.items() if key in schema]
    return f"{word} {' and '.join(bounds)}".rstrip()
