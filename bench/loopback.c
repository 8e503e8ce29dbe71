/* What the kernel alone costs on the way from a packet to an order: the limit to hold `ultra run --venue` against.
 *
 * loopback CORE UDP_PORT TCP_PORT
 *     Spins on a UDP socket; for each packet hands the 50 bytes of an OUCH order, numbered from 1, to a TCP connection.
 *     A packet of one byte ends it.
 *
 * The same system calls on the same sockets as the engine makes (recvmmsg of a block, send), and no more: no decoding,
 * no book, no decision. Known bad case: a packet that is lost is waited for, by whoever sent it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 32, BYTES = 2048, ORDER = 50 };

static char block[MANY][BYTES];

static void must(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static struct sockaddr_in here(const char *port) {
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return place;
}

int main(int count, char **words) {
    must(count == 4, "usage: loopback CORE UDP_PORT TCP_PORT");
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((size_t)atoi(words[1]), &cores);
    must(sched_setaffinity(0, sizeof cores, &cores) == 0, "sched_setaffinity");
    int feed = socket(AF_INET, SOCK_DGRAM, 0), orders = socket(AF_INET, SOCK_STREAM, 0), on = 1, wide = 1 << 24;
    struct sockaddr_in from = here(words[2]), to = here(words[3]);
    if (setsockopt(feed, SOL_SOCKET, SO_RCVBUFFORCE, &wide, sizeof wide) != 0)
        setsockopt(feed, SOL_SOCKET, SO_RCVBUF, &wide, sizeof wide);
    setsockopt(feed, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    must(bind(feed, (struct sockaddr *)&from, sizeof from) == 0, "bind");
    must(connect(orders, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    setsockopt(orders, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

    struct mmsghdr headers[MANY];
    struct iovec vectors[MANY];
    memset(headers, 0, sizeof headers);
    for (int k = 0; k < MANY; k++) {
        vectors[k] = (struct iovec){block[k], BYTES};
        headers[k].msg_hdr.msg_iov = &vectors[k];
        headers[k].msg_hdr.msg_iovlen = 1;
    }
    char order[ORDER] = {0, ORDER - 2, 'U', 'O'};
    for (uint32_t number = 1;;) {
        int got = recvmmsg(feed, headers, MANY, MSG_DONTWAIT, NULL);
        for (int k = 0; k < got; k++) {
            if (headers[k].msg_len == 1) {
                close(orders);
                return 0;
            }
            uint32_t wire = htonl(number++);
            memcpy(order + 4, &wire, 4);
            must(send(orders, order, ORDER, MSG_NOSIGNAL) == ORDER, "send");
        }
    }
}
