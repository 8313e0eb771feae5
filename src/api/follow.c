/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * follow.c - the events of an application to all who follow it here; see follow.h.
 *
 * All followers of one application form a feed, and one statement at a time asks for
 * all of them, each POLL_MS, from where the feed stands; polling is the truth, and
 * nothing is asked while nobody follows.  An event becomes text once, whoever gets it.
 *
 * Each follower has a place of its own: all up to there it has been given, or its
 * filter has left out.  Who comes with an older place than the feed's, or has not taken
 * what it was given, is behind, and is read for by turns with the feed, from its own
 * place.  So nothing is kept for a slow client but what lies in its buffer, and that
 * has a bound: above SEND_MOST it gets nothing more until it has taken most of it.  If
 * it takes nothing at all the server closes it (stream.c), and it goes on by its last
 * id.
 *
 * The ids that a client gets are places, so that any node goes on where another
 * stopped.  The heartbeat carries one too: with a filter that lets nothing pass, a
 * client's place moves all the same.
 */
#include "api/follow.h"

#include <sys/queue.h>

#include "api/event_json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strbuf.h"

#define POLL_MS	     500
#define SOON_MS	     20 /* while somebody is behind and has not taken what he has */
#define AGAIN_MS     1000
#define HEARTBEAT_MS 15000
#define RENEW_MS     (60LL * 60 * 1000)
#define PAGE	     500		      /* events in one answer */
#define ASKING_MOST  16			      /* questions under way, of all feeds */
#define SEND_MOST    (HTTPREQ_UNSENT_MAX / 4) /* in a client's buffer: no more then */
#define SEND_AGAIN   (SEND_MOST / 4)
#define TEXT_MOST    (HTTPREQ_UNSENT_MAX / 2) /* of one event */

TAILQ_HEAD(followers, follower);

struct feed {
	TAILQ_ENTRY(feed) link;
	struct follow *follow;
	int app_id;
	size_t count;
	struct followers list;
	struct event_place head;  /* where the feed stands */
	struct event_place asked; /* the question under way begins here */
	bool asking;
	bool of_head; /* that question, or the last one, was the feed's */
	bool renewing;
	int64_t head_due_ms; /* when the feed asks next */
	int64_t renewed_ms;  /* when the application was last noted as followed */
	struct loop_timer *timer;
};

struct follower {
	TAILQ_ENTRY(follower) link;
	struct feed *feed;
	struct httpreq *req;
	struct event_place place;
	struct follow_filter filter;
	bool full; /* it has SEND_MOST in its buffer, and not yet taken most of it */
};

struct follow {
	struct loop *loop;
	struct store *store;
	struct loop_timer *heartbeat;
	TAILQ_HEAD(, feed) feeds;
	size_t count;
	unsigned asking;
	bool leaving;
	struct pgparam params;
	struct strbuf text; /* of one event */
};

static void on_time(void *arg);
static void on_heartbeat(void *arg);

struct follow *
follow_create(struct loop *l, struct store *store, struct err *err)
{
	struct follow *f = mem_zero(sizeof(*f));

	if (f == NULL ||
	    (f->heartbeat = loop_timer_create(l, on_heartbeat, f)) == NULL) {
		mem_free(f);
		err_set(err, ERR_NOMEM, "followers of events");
		return NULL;
	}
	f->loop = l;
	f->store = store;
	TAILQ_INIT(&f->feeds);
	pgparam_init(&f->params);
	strbuf_init(&f->text, TEXT_MOST);
	return f;
}

static void
feed_free(struct feed *fd)
{
	TAILQ_REMOVE(&fd->follow->feeds, fd, link);
	loop_timer_free(fd->timer);
	mem_free(fd);
}

/* one whose question is under way goes when it is answered */
static void
feed_check_empty(struct feed *fd)
{
	if (fd->count == 0 && !fd->asking && !fd->renewing)
		feed_free(fd);
}

/* its request is the caller's to end */
static struct httpreq *
follower_free(struct follower *fr)
{
	struct feed *fd = fr->feed;
	struct httpreq *req = fr->req;

	TAILQ_REMOVE(&fd->list, fr, link);
	fd->count--;
	fd->follow->count--;
	mem_free(fr);
	feed_check_empty(fd);
	return req;
}

void
follow_free(struct follow *f)
{
	struct feed *fd;

	if (f == NULL)
		return;
	follow_end_all(f);
	/* the store is gone, and with it every question */
	while ((fd = TAILQ_FIRST(&f->feeds)) != NULL)
		feed_free(fd);
	loop_timer_free(f->heartbeat);
	pgparam_fini(&f->params);
	strbuf_fini(&f->text);
	mem_free(f);
}

size_t
follow_count(const struct follow *f)
{
	return f->count;
}

static struct feed *
find_feed(const struct follow *f, int app_id)
{
	struct feed *fd;

	TAILQ_FOREACH (fd, &f->feeds, link) {
		if (fd->app_id == app_id)
			return fd;
	}
	return NULL;
}

int
follow_room(const struct follow *f, int app_id, struct err *err)
{
	const struct feed *fd = find_feed(f, app_id);

	if (f->leaving)
		return err_set(err, ERR_CLOSED, "the worker leaves");
	if (fd != NULL && fd->count >= FOLLOW_APP_MOST)
		return err_set(err, ERR_LIMIT, "%d streams are open", FOLLOW_APP_MOST);
	if (f->count >= FOLLOW_MOST)
		return err_set(err, ERR_CLOSED, "%d streams are open", FOLLOW_MOST);
	return 0;
}

/* ---------------------------------------------------------------- what is sent */

/* a block without data: the client only learns where it stands */
static void
send_place(struct follower *fr, const char *comment, const char *more)
{
	char place[EVENT_PLACE_SIZE], text[200];
	int n = snprintf(text, sizeof(text), ": %s\n%sid: %s\n\n", comment, more,
	    event_place_text(&fr->place, place));

	httpreq_stream_send(fr->req, text, (size_t)n);
}

static bool
is_wanted(const struct follow_filter *w, const struct event_row *e)
{
	if (w->kind != 0 && w->kind != e->kind)
		return false;
	if (w->of_task && (!e->has_task || !uuid_eq(&w->task, &e->task)))
		return false;
	if (w->queue[0] != '\0' && (e->queue == NULL || !str_eq(w->queue, e->queue)))
		return false;
	return w->type[0] == '\0' || (e->type != NULL && str_eq(w->type, e->type));
}

/* false: too long, or no memory */
static bool
write_event(struct strbuf *text, const struct event_row *e)
{
	char place[EVENT_PLACE_SIZE];
	struct jsonw w;
	size_t from;

	strbuf_reset(text);
	strbuf_puts(text, "id: ");
	strbuf_puts(text, event_place_text(&e->place, place));
	strbuf_puts(text, "\nevent: ");
	strbuf_puts(text, event_kind_name(e->kind));
	strbuf_puts(text, "\ndata: ");
	from = text->len;
	jsonw_init(&w, text);
	event_json(&w, e, true);
	if (strbuf_failed(text))
		return false;
	/* in JSON a line break is white space, here it would end the data */
	for (size_t i = from; i < text->len; i++) {
		if (text->data[i] == '\n' || text->data[i] == '\r')
			text->data[i] = ' ';
	}
	strbuf_puts(text, "\n\n");
	return !strbuf_failed(text);
}

static void
deliver(struct feed *fd, const struct event_row *e)
{
	struct strbuf *text = &fd->follow->text;
	struct follower *fr;
	bool written = false;

	TAILQ_FOREACH (fr, &fd->list, link) {
		if (event_place_cmp(&fr->place, &fd->asked) < 0 || fr->full ||
		    event_place_cmp(&fr->place, &e->place) >= 0)
			continue;
		if (is_wanted(&fr->filter, e)) {
			if (!written && !write_event(text, e)) {
				log_error(NULL, "an event was too large for its stream",
				    "seq=%lld", (long long)e->place.seq);
				strbuf_reset(text);
			}
			written = true;
			httpreq_stream_send(fr->req, text->data, text->len);
			fr->full = httpreq_stream_unsent(fr->req) > SEND_MOST;
		}
		fr->place = e->place;
	}
}

/* ---------------------------------------------------------------- questions */

static void
come_again(struct feed *fd, int64_t ms)
{
	loop_timer_start_ms(fd->timer, ms);
}

/* all up to there has been looked at for this question */
static void
move_on(struct feed *fd, const struct event_place *to)
{
	struct follower *fr;

	TAILQ_FOREACH (fr, &fd->list, link) {
		if (event_place_cmp(&fr->place, &fd->asked) >= 0 && !fr->full &&
		    event_place_cmp(&fr->place, to) < 0)
			fr->place = *to;
	}
	if (fd->of_head && event_place_cmp(&fd->head, to) < 0)
		fd->head = *to;
}

static void
on_events(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct feed *fd = arg;
	struct follow *f = fd->follow;
	struct event_row e;
	int count;

	fd->asking = false;
	f->asking--;
	if (fd->count == 0) {
		feed_check_empty(fd);
		return;
	}
	if (pe != NULL) {
		if (pe->class != PGERR_LOST && pe->class != PGERR_RETRY)
			log_warn(NULL, "events could not be read",
			    "class=%s sqlstate=%s reason=\"%.200s\"",
			    pgerr_class_name(pe->class), pe->sqlstate, pe->text);
		come_again(fd, AGAIN_MS);
		return;
	}
	count = pgrows_count(rows) - 1;
	for (int i = 0; i < count; i++) {
		events_after_get(rows, i, &e);
		deliver(fd, &e);
	}
	events_after_get(rows, count < PAGE ? count : count - 1, &e);
	move_on(fd, &e.place);
	if (fd->of_head)
		fd->head_due_ms = loop_now_ms(f->loop) + (count < PAGE ? POLL_MS : 0);
	come_again(fd, 0);
}

static void
ask(struct feed *fd, const struct event_place *from)
{
	struct follow *f = fd->follow;

	fd->asked = *from;
	events_after_params(&f->params, fd->app_id, from, PAGE);
	fd->asking = store_exec(f->store, STORE_READ, &events_after, &f->params,
			 on_events, fd, NULL) == 0;
	if (fd->asking)
		f->asking++;
	else
		come_again(fd, AGAIN_MS);
}

/* who is furthest behind the feed and can take more; *waits: somebody cannot */
static const struct follower *
find_behind(struct feed *fd, bool *waits)
{
	const struct follower *found = NULL;
	struct follower *fr;

	*waits = false;
	TAILQ_FOREACH (fr, &fd->list, link) {
		if (fr->full && httpreq_stream_unsent(fr->req) < SEND_AGAIN)
			fr->full = false;
		*waits |= fr->full;
		if (!fr->full && event_place_cmp(&fr->place, &fd->head) < 0 &&
		    (found == NULL || event_place_cmp(&fr->place, &found->place) < 0))
			found = fr;
	}
	return found;
}

static void
on_time(void *arg)
{
	struct feed *fd = arg;
	int64_t left_ms = fd->head_due_ms - loop_now_ms(fd->follow->loop);
	const struct follower *behind;
	bool waits;

	if (fd->asking || fd->count == 0 || fd->follow->leaving)
		return;
	if (fd->follow->asking >= ASKING_MOST) {
		come_again(fd, SOON_MS);
		return;
	}
	behind = find_behind(fd, &waits);
	if (behind != NULL && (left_ms > 0 || fd->of_head)) {
		fd->of_head = false;
		ask(fd, &behind->place);
	} else if (left_ms <= 0) {
		fd->of_head = true;
		ask(fd, &fd->head);
	} else {
		come_again(fd, waits && left_ms > SOON_MS ? SOON_MS : left_ms);
	}
}

/* ---------------------------------------------------------------- followers */

static void
on_gone(struct httpreq *req, void *arg)
{
	struct follower *fr = arg;

	(void)req;
	httpreq_drop(follower_free(fr));
}

static struct feed *
make_feed(struct follow *f, int app_id, const struct event_place *head)
{
	struct feed *fd = mem_zero(sizeof(*fd));

	if (fd == NULL ||
	    (fd->timer = loop_timer_create(f->loop, on_time, fd)) == NULL) {
		mem_free(fd);
		return NULL;
	}
	fd->follow = f;
	fd->app_id = app_id;
	fd->head = *head;
	fd->renewed_ms = fd->head_due_ms = loop_now_ms(f->loop);
	TAILQ_INIT(&fd->list);
	TAILQ_INSERT_TAIL(&f->feeds, fd, link);
	return fd;
}

void
follow_add(struct follow *f, int app_id, const struct follow_filter *filter,
    const struct event_place *after, struct httpreq *req)
{
	struct follower *fr = mem_zero(sizeof(*fr));
	struct feed *fd = find_feed(f, app_id);

	if (fd != NULL && fd->count == 0)
		fd->head = *after; /* empty, and its last question under way */
	if (fd == NULL)
		fd = make_feed(f, app_id, after);
	if (fr == NULL || fd == NULL ||
	    !httpreq_stream_begin(req, 200, "text/event-stream")) {
		mem_free(fr);
		if (fd != NULL)
			feed_check_empty(fd);
		httpreq_drop(req);
		return;
	}
	fr->feed = fd;
	fr->req = req;
	fr->place = *after;
	fr->filter = *filter;
	TAILQ_INSERT_TAIL(&fd->list, fr, link);
	fd->count++;
	f->count++;
	httpreq_on_gone(req, on_gone, fr);
	send_place(fr, "welcome", "retry: 1000\n");
	if (!loop_timer_pending(f->heartbeat))
		loop_timer_start_ms(f->heartbeat, HEARTBEAT_MS);
	if (!fd->asking)
		come_again(fd, 0);
}

void
follow_end_all(struct follow *f)
{
	struct feed *fd, *next;

	f->leaving = true;
	loop_timer_stop(f->heartbeat);
	for (fd = TAILQ_FIRST(&f->feeds); fd != NULL; fd = next) {
		struct follower *fr;
		size_t left = fd->count;

		next = TAILQ_NEXT(fd, link);
		/* with its last follower it may go */
		while (left-- > 0) {
			fr = TAILQ_FIRST(&fd->list);
			httpreq_on_gone(fr->req, NULL, NULL);
			send_place(
			    fr, "this worker leaves: connect again", "retry: 100\n");
			httpreq_stream_end(follower_free(fr));
		}
	}
}

/* ---------------------------------------------------------------- while it is open */

static void
on_renewed(const struct pgrows *rows, const struct pgerr *pe, void *arg)
{
	struct feed *fd = arg;

	(void)rows;
	fd->renewing = false;
	/* days are left: the next heartbeat tries again */
	if (pe == NULL)
		fd->renewed_ms = loop_now_ms(fd->follow->loop);
	feed_check_empty(fd);
}

static void
renew(struct feed *fd)
{
	struct follow *f = fd->follow;

	pgparam_reset(&f->params);
	pgparam_int4(&f->params, fd->app_id);
	fd->renewing = store_exec(f->store, STORE_READ, &events_follow, &f->params,
			   on_renewed, fd, NULL) == 0;
}

static void
on_heartbeat(void *arg)
{
	struct follow *f = arg;
	int64_t now_ms = loop_now_ms(f->loop);
	struct follower *fr;
	struct feed *fd;

	if (f->count == 0)
		return; /* the next follower starts the timer again */
	loop_timer_start_ms(f->heartbeat, HEARTBEAT_MS);
	TAILQ_FOREACH (fd, &f->feeds, link) {
		TAILQ_FOREACH (fr, &fd->list, link) {
			if (!fr->full)
				send_place(fr, "still here", "");
		}
		if (fd->count > 0 && !fd->renewing &&
		    now_ms - fd->renewed_ms >= RENEW_MS)
			renew(fd);
	}
}
