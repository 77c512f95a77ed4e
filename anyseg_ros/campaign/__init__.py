# SPDX-License-Identifier: Apache-2.0
"""The fault campaign: every fault on a live graph, judged from a recording by other code than the node's."""
