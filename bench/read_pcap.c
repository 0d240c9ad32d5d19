/* SPDX-License-Identifier: Apache-2.0 */
/* libpcap alone on a capture file: the limit of whoever reads one. Looks at no packet.
 *
 *     read_pcap FILE */
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdio.h>

struct seen {
	uint64_t packets, bytes;
};

static void on_packet(u_char *arg, const struct pcap_pkthdr *h, const u_char *bytes)
{
	struct seen *s = (struct seen *)(void *)arg;

	(void)bytes;
	s->packets++;
	s->bytes += h->caplen;
}

int main(int argc, char **argv)
{
	char text[PCAP_ERRBUF_SIZE] = "usage: read_pcap FILE";
	struct seen seen = {0, 0};
	pcap_t *p = argc == 2 ? pcap_open_offline(argv[1], text) : NULL;

	if (!p || pcap_loop(p, -1, on_packet, (u_char *)&seen)) {
		(void)fprintf(stderr, "read_pcap: %s\n", p ? pcap_geterr(p) : text);
		return 1;
	}
	pcap_close(p);
	(void)printf("{\"packets\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", seen.packets,
		     seen.bytes);
	return 0;
}
