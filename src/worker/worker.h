/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H
#endif
