/* Text of others, made fit to be shown: names and error messages may be anything.
 *
 * What is not UTF-8, controls, marks that turn or hide text (right-to-left overrides, zero-width
 * blanks, byte order marks) and what no character is become U+FFFD; line ends and tabs become
 * blanks. Letters of every script stay.
 *
 * Thread class: any; nothing here blocks or allocates. */
#ifndef PORT_CLEAN_H
#define PORT_CLEAN_H

#include "../core/ledger.h"

/* Bytes that hold a text of so many columns: combining marks, of no width, are counted as one. */
#define CLEAN_BYTES(columns) (4 * (columns) + 8)

/* At most `columns` wide, as a terminal shows it (CJK and emoji take two); what is cut ends in
 * `mark`, which is one wide. Into `out`, which it returns. */
char *clean_text(struct ledger_text text, size_t columns, const char *mark, char *out, size_t size);
/* How wide a cleaned text is. */
size_t clean_width(const char *text);

#endif
