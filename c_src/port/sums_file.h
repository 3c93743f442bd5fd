/* SHA256SUMS of an archive: one line for each file, as `sha256sum -c` reads them. Lines of other
 * files stay. It is replaced in one step.
 *
 * Thread class: a job's thread; one at a time in a directory. */
#ifndef PORT_SUMS_FILE_H
#define PORT_SUMS_FILE_H

#include "archive.h"

int sums_file_put(int directory, const struct archive_segments *segments,
                  struct ledger_failure *failure);

#endif
