"""Virtual tokens before a text: prompt tuning (Lester et al. 2021) and prefix tuning (Li and Liang 2021), with peft.

Virtual tokens have the first positions and the text the following ones, as in the papers' code and in peft. Heads read
the text's tokens alone.

Shapes: B batch, T tokens, P virtual tokens, D hidden.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from adapter_sweep.engine.backbone import Backbone
from adapter_sweep.engine.methods.insertion import Forward, Insertion, inserted
from adapter_sweep.engine.methods.parts import Parts, Trained
from adapter_sweep.engine.methods.tuned import peft
from adapter_sweep.engine.sites import Layout
from adapter_sweep.errors import UserInputError

__all__ = ["PrefixSpec", "PromptSpec"]


@dataclass(frozen=True)
class PromptSpec:
    """Trained embeddings before the text's own. They start as those of random tokens, one of the paper's choices.

    Attributes:
        length: how many, P.
    """

    near_identity: ClassVar[bool] = False

    length: int

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`: P times the width of the word embeddings."""
        _check_takes(model, "prompt", "inputs_embeds")
        return Trained(self.length * _word_embeddings(model).embedding_dim)

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        _check_takes(backbone.model, "prompt", "inputs_embeds")
        words = _word_embeddings(backbone.model)
        library = peft("prompt")
        config = library.PromptTuningConfig(
            num_virtual_tokens=self.length,
            token_dim=words.embedding_dim,
            num_transformer_submodules=1,
            prompt_tuning_init="SAMPLE_VOCAB",
        )
        with _seeded(generator):
            prompt = library.PromptEmbedding(config, words)
        return Parts({"prompt": prompt}, insertion=Insertion(forward=self._forward(words, prompt)))

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return -1

    def _forward(self, words: nn.Embedding, prompt: nn.Module) -> Any:
        def make(own: Forward) -> Forward:
            def forward(*, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Any:
                embedded = words(input_ids)
                index = torch.arange(self.length, device=input_ids.device)
                virtual = prompt(index).to(embedded.dtype).expand(len(input_ids), -1, -1)
                if "token_type_ids" in inputs:  # of the first text
                    inputs["token_type_ids"] = _before(inputs["token_type_ids"], self.length, 0)
                output = own(
                    inputs_embeds=torch.cat([virtual, embedded], dim=1),
                    attention_mask=_before(attention_mask, self.length, 1),
                    **inputs,
                )
                output.last_hidden_state = output.last_hidden_state[:, self.length :]
                return output

            return forward

        return make


@dataclass(frozen=True)
class PrefixSpec:
    """Trained keys and values before the text's own, in every layer; without the paper's reparametrisation.

    A layer that reads a sliding window reads them from the tokens they are near enough to, as it does real ones.

    Attributes:
        length: how many, P; fewer than the tokens of a sliding window.
    """

    near_identity: ClassVar[bool] = False

    length: int

    def count(self, model: nn.Module, layout: Layout) -> Trained:
        """See `Method`: P times keys and values of every layer."""
        self._check(model)
        layers, heads, size = _cached(model)
        return Trained(self.length * layers * 2 * heads * size)

    def build(self, backbone: Backbone, generator: torch.Generator) -> Parts:
        """See `Method`."""
        model = backbone.model
        self._check(model)
        layers, heads, size = _cached(model)
        library = peft("prefix")
        config = library.PrefixTuningConfig(
            num_virtual_tokens=self.length,
            token_dim=heads * size,
            num_transformer_submodules=1,
            num_attention_heads=heads,
            num_layers=layers,
        )
        with _seeded(generator):
            prefix = library.PrefixEncoder(config)
        prefix.to(next(model.parameters()).device)
        insertion = Insertion(forward=self._forward(backbone, prefix))
        _check_reads(backbone, insertion)
        return Parts({"prefix": prefix}, insertion=insertion)

    def lowest_layer(self, backbone: Backbone) -> int | None:
        """See `Method`."""
        return -1

    def _check(self, model: nn.Module) -> None:
        _check_takes(model, "prefix", "past_key_values")
        config: Any = model.config
        windows = [getattr(layer, "sliding_window", None) for layer in DynamicCache(config=config).layers]
        window = min((window for window in windows if window), default=None)
        # Keys further back would be trained, counted, and read by no token.
        if window is not None and self.length >= window:
            raise UserInputError(
                f"method.length={self.length}: layers of {type(model).__name__} read a window of {window} tokens; "
                f"allowed: 1 to {window - 1}"
            )

    def _forward(self, backbone: Backbone, prefix: nn.Module) -> Any:
        layers, heads, size = _cached(backbone.model)
        dtype = next(backbone.model.parameters()).dtype
        config: Any = backbone.model.config

        def make(own: Forward) -> Forward:
            def forward(*, input_ids: Tensor, attention_mask: Tensor, **inputs: Any) -> Any:
                index = torch.arange(self.length, device=input_ids.device)
                virtual = prefix(index).to(dtype).view(self.length, 2 * layers, heads, size).permute(1, 2, 0, 3)
                cache = _Prefix(config=config)
                for layer in range(layers):
                    keys, values = (t.expand(len(input_ids), -1, -1, -1) for t in virtual[2 * layer : 2 * layer + 2])
                    cache.put(keys, values, layer)
                mask = _before(attention_mask, self.length, 1)
                return own(input_ids=input_ids, attention_mask=mask, past_key_values=cache, **inputs)

            return forward

        return make


class _Prefix(DynamicCache):
    """Keys and values that are read and never added to: a checkpointed layer computes more than once."""

    def put(self, keys: Tensor, values: Tensor, layer_idx: int) -> None:
        super().update(keys, values, layer_idx)

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        # What it keeps of them is the copy's: the tensors themselves are put together, not written into.
        layer: Any = copy(self.layers[layer_idx])
        joined: tuple[Tensor, Tensor] = layer.update(key_states, value_states, *args, **kwargs)
        return joined


def _before(tensor: Tensor, length: int, value: int) -> Tensor:
    """A tensor [B, T] with a value before it: [B, length + T]."""
    return torch.cat([tensor.new_full((len(tensor), length), value), tensor], dim=1)


def _word_embeddings(model: nn.Module) -> nn.Embedding:
    words = model.get_input_embeddings()  # type: ignore[operator]
    assert isinstance(words, nn.Embedding)
    return words


def _cached(model: nn.Module) -> tuple[int, int, int]:
    """How many layers, heads of keys and values, and features of each head a model's cache has."""
    config: Any = model.config
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or heads, size


def _check_takes(model: nn.Module, method: str, argument: str) -> None:
    takes = inspect.signature(type(model).forward).parameters
    if not {"input_ids", "attention_mask", argument} <= takes.keys():
        raise UserInputError(f"method={method}: {type(model).__name__} takes no {argument}, which the method needs")


@torch.inference_mode()
def _check_reads(backbone: Backbone, insertion: Insertion) -> None:
    """A model may take what it does not read."""
    ids = torch.tensor([[3, 4]], device=next(backbone.model.parameters()).device)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    frozen = backbone.hidden_states(inputs)
    try:
        with inserted(backbone.model, insertion):
            read = backbone.hidden_states(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise _unread(backbone.model, f": {error}") from error
    if read.shape != frozen.shape or torch.equal(read, frozen):
        raise _unread(backbone.model, "")


def _unread(model: nn.Module, why: str) -> UserInputError:
    return UserInputError(f"method=prefix: {type(model).__name__} does not compute with keys and values given it{why}")


@contextmanager
def _seeded(generator: torch.Generator) -> Iterator[None]:
    """While open, torch's own generator, which is the one peft draws from, follows from this one's next number."""
    seed = int(torch.randint(2**31, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
