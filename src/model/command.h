/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * command.h - how the command of each type is started, from its settings.
 *
 * Made once for a configuration, by whoever starts commands and by the spawner that
 * refuses all others: users are looked up and words are split here, not a task at a
 * time.
 */
#ifndef MODEL_COMMAND_H
#define MODEL_COMMAND_H

#include <stdbool.h>

#include "base/attr.h"
#include "base/err.h"
#include "model/settings.h"
#include "proc/launch.h"

struct commands;

/* ERR_INVALID: a type that cannot be run as it says on this machine, and why */
struct commands *commands_create(
    const struct settings *settings, struct err *err) ATTR_CHECK; /* borrowed */
void commands_free(struct commands *cs);			  /* NULL is fine */

/*
 * All of it but the environment and the descriptors (-1); valid as long as cs.  NULL:
 * no type with a command
 */
const struct launch_spec *commands_of(
    const struct commands *cs, const struct type_settings *t);
/* whether it is one of them: the same words, user and confinement */
bool commands_have(const struct commands *cs, const struct launch_spec *spec);
/* some type names a user of its own, which only root can start, or has a control group
 */
bool commands_need_root(const struct settings *settings);
/* of control groups, that types need; CGROUP_..., 0: none has a group */
unsigned commands_controllers(const struct settings *settings);
/* ERR_INVALID: this process is where no such groups can be made */
int commands_check_groups(const struct settings *settings, struct err *err) ATTR_CHECK;

/*
 * Whether somebody else than the operator could change what runs: each executable and
 * the directories above it must belong to root (or to us, where the node changes no
 * user) and be writable by no one else.  ERR_INVALID where root starts commands of
 * another user, else a warning in the log; what does not exist is a warning too.
 */
int commands_check_files(const struct settings *settings, struct err *err) ATTR_CHECK;

#endif
