# Copyright: (c) 2026, Private LLM Platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real keys out of the standard, and the fingerprints that it gives them."""

from __future__ import annotations

# The public key of RFC 9580, appendix A.1 (version 4), and of A.3 (version 6), with the fingerprints that the document gives.
VERSION_4 = bytes.fromhex(
    "98330453f35f0b16092b06010401da470f01010740" + "3f098994bdd916ed4053197934e4a87c80733a1280d62f8010992e43ee3b2406"
)
VERSION_4_PRINT = "C959BDBAFA32A2F89A153B678CFDE12197965A9A"
VERSION_6 = bytes.fromhex("c62a0663877fe31b00000020f94da7bb48d60a61e567706a6587d0331999bb9d891a08242ead84543df895a3")
VERSION_6_PRINT = "CB186C4F0609A697E4D52DFA6C722B0C1F1E27C18A56708F6525EC27BAD9ACC9"
