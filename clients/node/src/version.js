// SPDX-License-Identifier: BSD-2-Clause
export const VERSION = "0.1.0";
