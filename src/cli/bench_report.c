/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_report.c - what a measurement found; see bench_report.h.
 *
 * The histogram's rows end at powers of two, so that the rows of two runs can be laid
 * beside each other.
 */
#include "cli/bench_report.h"

#include <stdio.h>

#include "base/jsonw.h"
#include "base/strbuf.h"
#include "cli/cli.h"

#define BAR_WIDTH  50
#define TOP_POWER  41 /* beyond the last bucket */
#define LEAST_SEEN 0.0005

static const struct {
	const char *name;
	double share;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

static const char *
latency_name(enum bench_mode mode)
{
	switch (mode) {
	case BENCH_WAIT:
		return "result";
	case BENCH_START:
		return "start";
	case BENCH_DRAIN:
		return "load";
	default:
		return "submit";
	}
}

static void
put_histogram(const struct histogram *h)
{
	char bar[BAR_WIDTH + 1];
	uint64_t below = 0, upto;
	double share;
	int width;

	for (unsigned power = 5; power <= TOP_POWER && below < h->count; power++) {
		upto = power < TOP_POWER ? histogram_below_power(h, power) : h->count;
		share = (double)(upto - below) / (double)h->count;
		below = upto;
		if (share < LEAST_SEEN)
			continue;
		width = (int)(share * BAR_WIDTH + 0.5);
		for (int i = 0; i < width; i++)
			bar[i] = '#';
		bar[width] = '\0';
		printf("  below %10.3f ms %5.1f %% %s\n",
		    (double)(UINT64_C(1) << power) / 1000, 100 * share, bar);
	}
}

static void
put_backlog(const struct bench_opts *o, const struct bench_result *r)
{
	printf("backlog   %llu tasks loaded in %.3f s, held back by %s\n",
	    (unsigned long long)r->loaded, r->load_seconds,
	    o->hold_ms > 0 ? "their time" : "something else");
	if (o->mode == BENCH_BACKLOG)
		printf(
		    "beside    %.0f submitted and %.0f finished a second, for %.3f s\n",
		    r->submit_rate, r->rate, r->beside_seconds);
}

void
bench_report_text(const struct bench_opts *o, const struct bench_result *r)
{
	printf("mode      %s, %d connections, %lld a request, payload %lld bytes, type "
	       "%s\n",
	    bench_mode_name(o->mode), o->connections, (long long)o->batch,
	    (long long)o->payload_bytes, o->type);
	printf("tasks     %llu accepted", (unsigned long long)r->accepted);
	if (o->mode != BENCH_SUBMIT)
		printf(", %llu finished", (unsigned long long)r->finished);
	printf(", %llu failed requests\n", (unsigned long long)r->errors);
	if (bench_mode_loads(o->mode))
		put_backlog(o, r);
	printf("time      %.3f s", r->total_seconds);
	if (o->mode == BENCH_E2E)
		printf(", of which submitting %.3f s", r->submit_seconds);
	else if (bench_mode_loads(o->mode))
		printf(" from the release to the last finish");
	if (o->mode != BENCH_BACKLOG)
		printf("\nrate      %.0f tasks/s", r->rate);
	if (o->mode == BENCH_E2E)
		printf(" from first submit to last finish; %.0f submitted a second",
		    r->submit_rate);
	printf("\n%-9s", latency_name(o->mode));
	for (size_t i = 0; i < COUNT_OF(quantiles); i++)
		printf(" %s %.2f", quantiles[i].name,
		    (double)histogram_quantile(&r->latency, quantiles[i].share) / 1000);
	printf(" max %.2f mean %.2f ms\n", (double)r->latency.max_us / 1000,
	    histogram_mean(&r->latency) / 1000);
	put_histogram(&r->latency);
	printf("client    %.0f %% of one processor\n",
	    r->total_seconds > 0 ? 100 * r->cpu_seconds / r->total_seconds : 0.0);
	if (r->errors > 0)
		printf("errors    the last one: %s\n", r->last_error.text);
}

static void
key_double(struct jsonw *w, const char *name, double n)
{
	jsonw_key(w, name);
	jsonw_double(w, n);
}

static void
put_latency(struct jsonw *w, const struct histogram *h)
{
	uint64_t below = 0, upto;

	jsonw_key(w, "latency_us");
	jsonw_object(w);
	for (size_t i = 0; i < COUNT_OF(quantiles); i++)
		jsonw_member_int(
		    w, quantiles[i].name, histogram_quantile(h, quantiles[i].share));
	jsonw_member_int(w, "max", h->max_us);
	key_double(w, "mean", histogram_mean(h));
	/* [below this many microseconds, so many]; the last row has the rest */
	jsonw_key(w, "histogram");
	jsonw_array(w);
	for (unsigned power = 5; power <= TOP_POWER && below < h->count; power++) {
		upto = power < TOP_POWER ? histogram_below_power(h, power) : h->count;
		jsonw_array(w);
		jsonw_int(w, (int64_t)(UINT64_C(1) << power));
		jsonw_int(w, (int64_t)(upto - below));
		jsonw_end(w);
		below = upto;
	}
	jsonw_end(w);
	jsonw_end(w);
}

void
bench_report_json(const struct bench_opts *o, const struct bench_result *r)
{
	struct strbuf out;
	struct jsonw w;

	strbuf_init(&out, 65536);
	jsonw_init(&w, &out);
	jsonw_object(&w);
	jsonw_key(&w, "mode");
	jsonw_string(&w, bench_mode_name(o->mode));
	jsonw_member_int(&w, "connections", o->connections);
	jsonw_member_int(&w, "batch", o->batch);
	jsonw_member_int(&w, "payload_bytes", o->payload_bytes);
	jsonw_key(&w, "type");
	jsonw_string(&w, o->type);
	jsonw_member_int(&w, "accepted", (int64_t)r->accepted);
	jsonw_member_int(&w, "finished", (int64_t)r->finished);
	jsonw_member_int(&w, "errors", (int64_t)r->errors);
	jsonw_key(&w, "stalled");
	jsonw_bool(&w, r->stalled);
	key_double(&w, "seconds", r->total_seconds);
	key_double(&w, "rate", r->rate);
	key_double(&w, "submit_rate", r->submit_rate);
	key_double(&w, "cpu_seconds", r->cpu_seconds);
	if (bench_mode_loads(o->mode)) {
		jsonw_member_int(&w, "loaded", (int64_t)r->loaded);
		key_double(&w, "load_seconds", r->load_seconds);
	}
	if (o->mode == BENCH_BACKLOG) {
		key_double(&w, "beside_seconds", r->beside_seconds);
		jsonw_member_int(&w, "beside_submitted", (int64_t)r->beside_submitted);
		jsonw_member_int(&w, "beside_finished", (int64_t)r->beside_finished);
	}
	put_latency(&w, &r->latency);
	jsonw_end(&w);
	cli_put_json(out.data, out.len);
	strbuf_fini(&out);
}
