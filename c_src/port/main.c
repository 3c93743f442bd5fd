/* cost_ledger: the companion of the VM, and the command line when there is none. */
#include <string.h>

#include "command.h"
#include "frames.h"

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--port") == 0)
        return frames_main();
    return command_main(argc, argv);
}
