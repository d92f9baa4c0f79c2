/* A filter: earthquakes of at least min_magnitude pass. */
#include "wasmill.h"

static double min_magnitude;

static const char *configure(wm_instance *in) {
    min_magnitude = wm_config_float(in, "min_magnitude", 4.5);
    return NULL;
}

static wm_outcome strong(const wm_event *e, wm_out *out) {
    double mag;
    if (!wm_float(wm_find(e, "/properties/mag"), &mag)) return wm_dead_letter_because("no magnitude");
    if (mag < min_magnitude) return WM_DROP;
    wm_pass(out);
    return WM_DONE;
}

WM_PLUGIN(configure, strong, NULL);
