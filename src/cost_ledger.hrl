%% What a name stands for: kept as a persistent term, so that the gate finds it without a copy.
%% A closed ledger keeps its record; the handle then answers `closed`.
-record(ledger,
        {name :: atom(),
         handle :: cost_ledger_nif:handle(),
         on_unavailable :: allow | deny,
         call_timeout :: timeout(),
         max_entry_size :: pos_integer(),
         path :: binary(),
         identity :: non_neg_integer(), %% tells this ledger from another of that name
         subscribers :: atom(),         %% scope of pg
         clock :: system | manual,
         retention = infinity :: cost_ledger_archive:retention(),
         supervisor :: pid()}).

-define(LEDGER_KEY(Name), {cost_ledger, Name}).
-define(DEFAULT_LEDGER, default).

%% Of every amount of money, tokens and time; ENTRY_AMOUNT_MAX in c_src/core/entry.h.
-define(AMOUNT_MAX, 1000000000000000).

-define(HOUR_MS, 3600000).
-define(DAY_MS, 86400000).
