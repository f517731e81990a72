#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gguf_info
short_description: Read what a GGUF model file says of itself
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Reads the metadata and the table of tensors of a GGUF model on the host. Only the first few MiB of the file are read, however large the model is.
  - Versions 2 and 3, little-endian. A model in several files (C(NAME-00001-of-0000N.gguf)) is read as one; name its first file.
  - A file that is damaged or not complete is refused with a sentence that says where. No size that a file states is believed before it is checked.
attributes:
  check_mode:
    description: Never changes anything.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: N/A
options:
  path:
    description: The model file on the host, or the first of its files.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Read what the model is
  private_llm.platform.gguf_info:
    path: /var/lib/llama/models/qwen3-coder-30b-a3b-instruct-q4_k_m.gguf
  register: found

- name: Refuse a model without a chat template
  ansible.builtin.assert:
    that: found.model.chat_template
"""

RETURN = r"""
model:
  description: What the file says. Lengths are in elements, sizes in bytes; null for what it does not say.
  type: dict
  returned: always
  contains:
    architecture:
      description: Architecture, as llama.cpp calls it.
      type: str
      sample: qwen3moe
    name:
      description: Name that its makers gave it.
      type: str
      sample: Qwen3 Coder 30B A3B Instruct
    version:
      description: Version of the file format.
      type: int
      sample: 3
    file_type:
      description: Quantisation that most tensors have.
      type: str
      sample: Q4_K_M
    parameters:
      description: Number of parameters.
      type: int
      sample: 30532122624
    layers:
      description: Number of layers.
      type: int
      sample: 48
    context_length:
      description: Tokens of context that the model was trained for.
      type: int
      sample: 262144
    embedding_length:
      description: Length of an embedding.
      type: int
      sample: 2048
    feed_forward_length:
      description: Length of the feed-forward network's inner layer; the largest one, where layers differ.
      type: int
      sample: 5472
    heads:
      description: Heads of the attention; the largest number, where layers differ.
      type: int
      sample: 32
    kv_heads:
      description: Heads that have keys and values of their own; the largest number, where layers differ.
      type: int
      sample: 4
    kv_heads_per_layer:
      description: The same for each layer, 0 for a layer that keeps no keys and values.
      type: list
      elements: int
      sample: [4, 4, 4]
    key_length:
      description: Length of a head's key.
      type: int
      sample: 128
    value_length:
      description: Length of a head's value.
      type: int
      sample: 128
    latent_attention:
      description: Whether keys and values are kept as one compressed vector.
      type: bool
      sample: false
    sliding_window:
      description: Tokens that some layers look back at, where they do not look at all of the context.
      type: int
    recurrent_layers:
      description: Number of layers that keep a state of fixed size instead of keys and values.
      type: int
      sample: 0
    recurrent_bytes:
      description: Size of that state of all such layers, for one conversation.
      type: int
      sample: 0
    experts:
      description: Number of experts, 0 for a dense model.
      type: int
      sample: 128
    experts_used:
      description: Experts that work on one token.
      type: int
      sample: 8
    expert_feed_forward_length:
      description: Length of the inner layer of an expert.
      type: int
      sample: 768
    vocabulary_size:
      description: Number of words.
      type: int
      sample: 151936
    tokenizer:
      description: Kind of the tokenizer.
      type: str
      sample: gpt2
    chat_template:
      description: Whether the file has a chat template.
      type: bool
      sample: true
    bytes:
      description: >-
        Size of the tensors by what they are for (C(token_embedding), C(attention), C(experts), C(feed_forward), C(recurrent), C(norms), C(output),
        C(other)), and C(total).
      type: dict
      sample: {"total": 18550716416, "experts": 17553162240}
    bytes_per_layer:
      description: Size of each layer's tensors.
      type: list
      elements: int
      sample: [388890624]
    tensor_types:
      description: Size of the tensors by their type.
      type: dict
      sample: {"F32": 51175424, "Q4_K": 12032163840, "Q6_K": 6467377152}
    files:
      description: The model's files, each with its C(path), its C(size), how many bytes its C(head) has and how many C(tensors) are in it.
      type: list
      elements: dict
      sample: [{"path": "/var/lib/llama/models/model.gguf", "size": 18556686912, "head": 5970423, "tensors": 579}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import gguf


def main() -> None:
    module = AnsibleModule(argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True)
    try:
        model = gguf.describe(gguf.read(module.params["path"]))
    except gguf.GgufError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, model=model)


if __name__ == "__main__":
    main()
