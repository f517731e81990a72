#!/usr/bin/python

# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: capacity_plan
short_description: Plan how many requests with how much context a llama-server can hold
version_added: 0.1.0
author:
  - Private LLM Platform team (@private-llm)
description:
  - Reads the model file's own metadata and the size of the GPU's memory, predicts what llama-server will need, part by part, and fails when that
    does not fit, naming the nearest plans that do.
  - Slots and context that are not given are chosen, so that the memory is put to use for the people who share the server.
  - Warns when the host's own memory is short, or a limit of the server's memory does not count the prompt cache.
  - Against llama.cpp's own estimator the prediction is between 0 and 3 percent above for a model of the production shape
    (Qwen3-Coder-30B-A3B); the estimator leaves out the driver's own memory and CUDA's scratch space, which are in the plan.
attributes:
  check_mode:
    description: >-
      Never changes anything. A model that is not there, or a driver that is not installed, is no failure in check mode, for an earlier task would
      have brought it; then no plan is made.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: full
options:
  model_path:
    description: The model file on the host, or the first of its files.
    type: path
    required: true
  slots:
    description: Requests that are worked on at once; V(0) to have it chosen.
    type: int
    default: 0
  context_per_slot:
    description: Tokens of context of each slot; V(0) to have it chosen.
    type: int
    default: 0
  people:
    description: How many people share the server; more slots than that are not chosen.
    type: int
    default: 20
  cache_type_k:
    description: Type of the keys in the context memory.
    type: str
    choices: [f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl]
    default: q8_0
  cache_type_v:
    description: Type of the values in the context memory.
    type: str
    choices: [f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, iq4_nl]
    default: q8_0
  flash_attention:
    description: Whether flash attention is on.
    type: bool
    default: true
  ubatch:
    description: Tokens that go through the model at once.
    type: int
    default: 512
  shared_pool:
    description:
      - Tokens of a context that all slots share; V(0) for a context of its own for each.
      - When a shared context is full, every request that is under way fails at once.
    type: int
    default: 0
  device:
    description: Whether the model goes to the memory of the GPU or of the host.
    type: str
    choices: [gpu, host]
    default: gpu
  gpu_layers:
    description: Layers that go to the GPU, a number or V(all).
    type: str
    default: all
  gpu_memory:
    description: MiB of the GPU's memory, of all that O(gpus) names together; V(0) asks C(nvidia-smi). Needed for an instance of a divided card (MIG).
    type: int
    default: 0
  gpus:
    description:
      - The GPUs that the server uses, each by its number as C(nvidia-smi) counts them or by its UUID; all if empty.
      - With O(gpu_memory) there is nothing to ask, and only their number counts.
    type: list
    elements: str
    default: []
  split_mode:
    description: How several GPUs share the model, V(layer) for whole layers each, or V(none) where the first one takes all.
    type: str
    choices: [layer, none]
    default: layer
  margin:
    description: MiB that stay free, on each GPU.
    type: int
    default: 1024
  cache_ram:
    description: MiB of the host's memory for prompts of conversations that lost their slot (C(--cache-ram)).
    type: int
    default: 8192
  lock_model:
    description: Whether the model is locked in the host's memory.
    type: bool
    default: false
  memory_max:
    description: The limit of the server's memory (systemd's C(MemoryMax)); V(auto) to have one computed, empty for none.
    type: str
    default: ""
seealso:
  - module: private_llm.platform.gguf_info
"""

EXAMPLES = r"""
- name: Plan what the GPU can hold
  private_llm.platform.capacity_plan:
    model_path: /var/lib/llama/models/qwen3-coder-30b-a3b-instruct-q4_k_m.gguf
    people: 20
  register: capacity

- name: Show the plan
  ansible.builtin.debug:
    msg: "{{ capacity.report }}"

- name: See whether two long contexts fit on a card that is not here yet
  private_llm.platform.capacity_plan:
    model_path: /var/lib/llama/models/qwen3-coder-30b-a3b-instruct-q4_k_m.gguf
    slots: 2
    context_per_slot: 262144
    gpu_memory: 49140
"""

RETURN = r"""
planned:
  description: Whether a plan was made; false in check mode when the model or the driver is not there yet.
  type: bool
  returned: always
  sample: true
plan:
  description: The plan. Without one, the settings as they were given.
  type: dict
  returned: always
  contains:
    slots:
      description: Requests that are worked on at once.
      type: int
      sample: 20
    context_per_slot:
      description: Tokens of context of each slot.
      type: int
      sample: 57344
    context_size:
      description: Tokens of all context together, for C(--ctx-size).
      type: int
      sample: 1146880
    memory_max:
      description: The limit of the server's memory, computed if it was V(auto).
      type: str
      sample: 38912M
    device:
      description: What the model goes to.
      type: str
      sample: NVIDIA H100 80GB HBM3
    parts:
      description: >-
        MiB by part (C(weights), C(context), C(compute), C(scratch), C(driver), C(prompt_cache), C(uneven)); the prompt cache is a part where the
        model is in the host's memory, too.
      type: dict
      sample: {"weights": 17524.4, "context": 57120.0, "compute": 372.8, "scratch": 2240.0, "driver": 700.0, "prompt_cache": 0.0, "uneven": 0.0}
    needed:
      description: MiB that are needed.
      type: int
      sample: 77958
    memory:
      description: MiB that there are.
      type: int
      sample: 81559
    margin:
      description: MiB that stay free.
      type: int
      sample: 1024
    spare:
      description: MiB that are left with the margin taken off.
      type: int
      sample: 2577
    host_needed:
      description: MiB of the host's memory that the server will keep.
      type: int
      sample: 13096
report:
  description: The plan as a table for people, a line each.
  type: list
  elements: str
  returned: always
"""

from dataclasses import asdict
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.private_llm.platform.plugins.module_utils import capacity_plan, gguf

MEMINFO = "/proc/meminfo"
QUERY = ["--query-gpu=index,uuid,name,memory.total,mig.mode.current,memory.used", "--format=csv,noheader,nounits"]

PROGRAMS_QUERY = ["--query-compute-apps=gpu_uuid,process_name,used_memory", "--format=csv,noheader,nounits"]


class NotThereYet(Exception):
    """What an earlier task brings is not there; a failure only when that task has really run."""


def argument_spec() -> dict[str, dict[str, Any]]:
    cache_type = {"type": "str", "choices": list(capacity_plan.CACHE_TYPES), "default": "q8_0"}
    return {
        "model_path": {"type": "path", "required": True},
        "slots": {"type": "int", "default": 0},
        "context_per_slot": {"type": "int", "default": 0},
        "people": {"type": "int", "default": 20},
        "cache_type_k": dict(cache_type),
        "cache_type_v": dict(cache_type),
        "flash_attention": {"type": "bool", "default": True},
        "ubatch": {"type": "int", "default": 512},
        "shared_pool": {"type": "int", "default": 0},
        "device": {"type": "str", "choices": ["gpu", "host"], "default": "gpu"},
        "gpu_layers": {"type": "str", "default": "all"},
        "gpu_memory": {"type": "int", "default": 0},
        "gpus": {"type": "list", "elements": "str", "default": []},
        "split_mode": {"type": "str", "choices": ["layer", "none"], "default": "layer"},
        "margin": {"type": "int", "default": 1024},
        "cache_ram": {"type": "int", "default": 8192},
        "lock_model": {"type": "bool", "default": False},
        "memory_max": {"type": "str", "default": ""},
    }


def settings_of(params: dict[str, Any]) -> capacity_plan.Settings:
    """:raises PlanError: when a number is none, or too small."""
    layers = params["gpu_layers"]
    if layers != "all" and not layers.isdigit():
        raise capacity_plan.PlanError("gpu_layers is %s: a number of layers or all is expected." % layers)
    smallest = {"slots": 0, "context_per_slot": 0, "people": 1, "ubatch": 1, "shared_pool": 0, "gpu_memory": 0, "margin": 0, "cache_ram": 0}
    for name, least in smallest.items():
        if params[name] < least:
            raise capacity_plan.PlanError("%s is %d: at least %d is needed." % (name, params[name], least))
    return capacity_plan.Settings(
        slots=params["slots"],
        context=params["context_per_slot"],
        type_k=params["cache_type_k"],
        type_v=params["cache_type_v"],
        ubatch=params["ubatch"],
        flash_attention=params["flash_attention"],
        pool=params["shared_pool"],
        gpu_layers=None if layers == "all" else int(layers),
        cache_ram=params["cache_ram"],
        locked=params["lock_model"],
    )


def host_memory() -> int:
    try:
        with open(MEMINFO, encoding="ascii") as stream:
            return capacity_plan.parse_meminfo(stream.read())
    except OSError:
        return 0


def installed_gpus(module: AnsibleModule) -> list[capacity_plan.Gpu]:
    program = module.get_bin_path("nvidia-smi")
    if program is None:
        raise NotThereYet(
            "There is no nvidia-smi on this host, so the size of the GPU's memory is not known: install the driver first, or state the MiB "
            "(gpu_memory; of the role: llama_server_gpu_memory), or serve from the host's memory (device: host; llama_server_gpu_layers: 0)."
        )
    status, output, error = module.run_command([program, *QUERY])
    gpus = capacity_plan.parse_gpus(output) if status == 0 else []
    if not gpus:
        raise NotThereYet(
            "nvidia-smi finds no GPU on this host (%s): see whether the driver is loaded and the card is in its place, or state the "
            "MiB (gpu_memory; of the role: llama_server_gpu_memory)."
            % " ".join((error or output).split())
        )
    return gpus


def memory_of(module: AnsibleModule) -> capacity_plan.Memory:
    """:raises PlanError: when the memory cannot be known. :raises NotThereYet: when there is no driver."""
    params = module.params
    if params["device"] == "host":
        total = host_memory()
        if not total:
            raise capacity_plan.PlanError("%s does not say how much memory the host has." % MEMINFO)
        return capacity_plan.Memory("host", "the host's memory", (total,))
    alone = params["split_mode"] == "none"
    if params["gpu_memory"]:
        count = 1 if alone else max(len(params["gpus"]), 1)
        name = "a GPU" if count == 1 else "%d GPUs" % count
        return capacity_plan.Memory("gpu", "%s of %d MiB" % (name, params["gpu_memory"]), (params["gpu_memory"] // count,) * count)
    chosen = capacity_plan.chosen_gpus(installed_gpus(module), params["gpus"])[: 1 if alone else None]
    _status, programs, _error = module.run_command([module.get_bin_path("nvidia-smi", required=True), *PROGRAMS_QUERY])
    for warning in capacity_plan.stranger_warnings(chosen, programs):
        module.warn(warning)
    names = sorted({gpu.name for gpu in chosen})
    return capacity_plan.Memory(
        "gpu", " and ".join(names) if len(chosen) == 1 else "%d x %s" % (len(chosen), " and ".join(names)), tuple(gpu.mib for gpu in chosen)
    )


def result_of(model: dict[str, Any], plan: capacity_plan.Plan, memory_max: str) -> dict[str, Any]:
    settings = plan.settings
    return {
        "slots": settings.slots,
        "context_per_slot": settings.context,
        "context_size": settings.tokens,
        "memory_max": "%dM" % capacity_plan.memory_limit_mib(model, plan) if memory_max == "auto" else memory_max,
        "device": plan.memory.name,
        "parts": {name: round(size, 1) for name, size in asdict(plan.parts).items()},
        "needed": plan.needed,
        "memory": plan.memory.total,
        "margin": plan.margin * len(plan.memory.devices),
        "spare": plan.spare,
        "host_needed": round(capacity_plan.host_memory_mib(model, plan)),
    }


def without_plan(params: dict[str, Any], why: str) -> dict[str, Any]:
    """What can be said in check mode before the model and the driver are there."""
    settings = settings_of(params)
    return {
        "planned": False,
        "plan": {
            "slots": settings.slots,
            "context_per_slot": settings.context,
            "context_size": settings.tokens,
            "memory_max": "" if params["memory_max"] == "auto" else params["memory_max"],
        },
        "report": ["No plan yet: %s" % why],
    }


def make_plan(module: AnsibleModule) -> dict[str, Any]:
    """What the module returns. :raises GgufError, PlanError, NotThereYet: with the sentence for the user."""
    params = module.params
    wanted = settings_of(params)
    try:
        model = gguf.describe(gguf.read(params["model_path"]))
    except gguf.GgufMissing as missing:
        raise NotThereYet(str(missing)) from missing
    capacity_plan.expect_language_model(model)
    memory = memory_of(module)
    settings = capacity_plan.choose(model, wanted, memory, params["margin"], params["people"])
    plan = capacity_plan.plan_for(model, settings, memory, params["margin"])
    if not plan.fits:
        raise capacity_plan.PlanError("%s Nothing was changed." % capacity_plan.refusal(model, plan))
    for warning in capacity_plan.host_warnings(model, plan, host_memory(), params["memory_max"]):
        module.warn(warning)
    return {"planned": True, "plan": result_of(model, plan, params["memory_max"]), "report": capacity_plan.report(model, plan)}


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    try:
        result = make_plan(module)
    except NotThereYet as missing:
        if not module.check_mode:
            module.fail_json(msg=str(missing))
        result = without_plan(module.params, str(missing))
    except (gguf.GgufError, capacity_plan.PlanError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
