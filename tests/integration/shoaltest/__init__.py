# SPDX-License-Identifier: BSD-2-Clause
"""What the integration tests stand on: stores, nodes, clients, wires and waiting.

Nothing here knows a test; conftest.py makes fixtures of it.
"""
