# SPDX-License-Identifier: Apache-2.0
"""Which measurements belong together."""
