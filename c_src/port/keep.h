/* Commands that keep a ledger: verify, backup, restore, archive. Thread class: the command line's.
 */
#ifndef PORT_KEEP_H
#define PORT_KEEP_H

#include "command.h"

int keep_verify(const struct command_options *options);
int keep_backup(const struct command_options *options);
int keep_restore(const struct command_options *options);
int keep_archive(const struct command_options *options);

#endif
