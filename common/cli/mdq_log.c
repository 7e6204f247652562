#include "mdq_log.h"

#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mdq_cli.h"

static int threshold = MDQ_LOG_NOTE;
static bool force;
static bool quiet;

static struct {
    pthread_mutex_t lock;
    bool open, shown;
    char label[64], unit[16], note[96];
    double total, done, began, last;
} progress = {.lock = PTHREAD_MUTEX_INITIALIZER};

double mdq_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void mdq_log_set(int verbosity, bool force_progress)
{
    quiet = verbosity < 0;
    threshold = verbosity < 0 ? -1 : verbosity + MDQ_LOG_NOTE;
    force = force_progress;
}

bool mdq_log_on(enum mdq_log_level level)
{
    return (int)level <= threshold;
}

static void clear_line(void)
{
    if (progress.shown && isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    progress.shown = false;
}

void mdq_log(enum mdq_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"warning: ", "", "", "debug: "};
    if (!mdq_log_on(level))
        return;
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    pthread_mutex_lock(&progress.lock);
    clear_line();
    fprintf(stderr, "%s[%d] %s%s\n", mdq_program_name(), (int)getpid(), names[level], text);
    pthread_mutex_unlock(&progress.lock);
}

static void duration(char *out, size_t size, double s)
{
    if (s < 90)
        snprintf(out, size, "%.0f s", s);
    else if (s < 5400)
        snprintf(out, size, "%.0f min", s / 60);
    else
        snprintf(out, size, "%.1f h", s / 3600);
}

static void show(double now, bool last)
{
    double spent = now - progress.began;
    double rate = spent > 0 ? progress.done / spent : 0;
    char left[32] = "";
    if (!last && rate > 0 && progress.done > 0 && spent > 0.5)
        duration(left, sizeof left, fmax(0, progress.total - progress.done) / rate);
    char line[320];
    int n = snprintf(line, sizeof line, "%s %3.0f %% (%.4g / %.4g %s), %.3g %s/s", progress.label,
                     progress.total > 0 ? 100 * progress.done / progress.total : 100.0, progress.done,
                     progress.total, progress.unit, rate, progress.unit);
    if (left[0] && n < (int)sizeof line)
        n += snprintf(line + n, sizeof line - (size_t)n, ", %s left", left);
    if (progress.note[0] && n < (int)sizeof line)
        snprintf(line + n, sizeof line - (size_t)n, ", %s", progress.note);
    bool tty = isatty(STDERR_FILENO);
    fprintf(stderr, tty ? "\r\033[K%s%s" : "%s%s", line, tty && !last ? "" : "\n");
    fflush(stderr);
    progress.shown = tty && !last;
    progress.last = now;
}

void mdq_progress_start(const char *label, double total, const char *unit)
{
    pthread_mutex_lock(&progress.lock);
    progress.open = !quiet && (force || isatty(STDERR_FILENO));
    snprintf(progress.label, sizeof progress.label, "%s", label);
    snprintf(progress.unit, sizeof progress.unit, "%s", unit);
    progress.note[0] = 0;
    progress.total = total;
    progress.done = 0;
    progress.began = progress.last = mdq_seconds();
    pthread_mutex_unlock(&progress.lock);
}

void mdq_progress_add(double amount)
{
    pthread_mutex_lock(&progress.lock);
    progress.done += amount;
    if (progress.open) {
        double now = mdq_seconds();
        /* a log file wants far fewer lines than a terminal wants refreshes */
        if (now - progress.last >= (isatty(STDERR_FILENO) ? 0.25 : 2.0))
            show(now, false);
    }
    pthread_mutex_unlock(&progress.lock);
}

void mdq_progress_note(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&progress.lock);
    vsnprintf(progress.note, sizeof progress.note, fmt, ap);
    pthread_mutex_unlock(&progress.lock);
    va_end(ap);
}

void mdq_progress_end(void)
{
    pthread_mutex_lock(&progress.lock);
    if (progress.open)
        show(mdq_seconds(), true);
    progress.open = false;
    pthread_mutex_unlock(&progress.lock);
}
