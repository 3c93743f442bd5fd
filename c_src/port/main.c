/* cost_ledger: the companion of the VM, and the command line when there is none. */
#include "command.h"

int main(int argc, char **argv) {
    return command_main(argc, argv);
}
