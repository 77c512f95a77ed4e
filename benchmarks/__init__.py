# SPDX-License-Identifier: Apache-2.0
"""Measurements of our parts against what one would use instead (``python -m benchmarks``; see docs/benchmarks.md)."""
