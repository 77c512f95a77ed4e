# SPDX-License-Identifier: Apache-2.0
"""Small pure-Python versions of ROS packages that PyPI lacks.

``anyseg_ros.nodes`` appends this folder to the end of ``sys.path``, so that a genuine package always wins.
Only what the nodes use is here; the contract tests in test/contract pass on either.
"""
