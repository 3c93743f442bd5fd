/* What payloads have that msgpack does not, and how the VM writes it; see payload_term.h. */
#ifndef COST_LEDGER_PAYLOAD_FORM_H
#define COST_LEDGER_PAYLOAD_FORM_H

/* Of msgpack's extensions. */
enum extension { EXTENSION_ATOM = 1, EXTENSION_INTEGER = 2 };

/* Erlang's external term format. */
#define ETF_VERSION 131
#define ETF_SMALL_BIG 110
#define ETF_ATOM_UTF8 118
#define ETF_SMALL_ATOM_UTF8 119

#endif
