// Preloaded into a process: writes down every look-up of a host, which it refuses, and every connection to an address.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
static void tell(const char *what, const char *which) {
    const char *path = getenv("OVERPAINT_TEST_LOOKUPS");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (log) { fprintf(log, "%s %s\n", what, which ? which : "-"); fclose(log); }
}
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    tell("getaddrinfo", node);
    return EAI_FAIL;
}
int connect(int fd, const struct sockaddr *address, socklen_t length) {
    if (address->sa_family == AF_INET || address->sa_family == AF_INET6) tell("connect", "inet");
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    return real(fd, address, length);
}
