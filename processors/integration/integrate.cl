/* Correction and integration in one kernel: one work-group per bin gathers its pixels, in the order of the matrix.

   `tally` is for counts without splitting, whose sums are whole numbers: those of the CPU, bit for bit. Its limits are as
   in scatter.py; what it gives is finished on the host.

   Defined at compile time: RAW (type of a pixel), LIMIT (type in which limits are compared), REAL (double, or float
   where the device has no double), COMPENSATED (with float), SPLIT, DARK, DARK_VARIANCE (see Plan), MODEL (0 none, 1 poisson,
   2 azimuthal exact, 3 azimuthal as pyFAI's compiled engines), GROUP (work items per bin),
   WHOLE (`tally` is wanted; COUNT is the unsigned type of a pixel then).

   Per entry of the matrix, bin after bin: pixel[] its number, share[] its coefficient c (if SPLIT), weight[] the norm of
   its pixel, offset[] its dark (if DARK). A sum is kept as value and error of the value (Kahan, Neumaier) where
   COMPENSATED, else the error stays 0. */

typedef struct { REAL value, error; } sum_t;

static sum_t plus(sum_t s, REAL x) {
#if COMPENSATED
    REAL t = s.value + x;
    s.error += fabs(s.value) >= fabs(x) ? (s.value - t) + x : (x - t) + s.value;
    s.value = t;
#else
    s.value += x;
#endif
    return s;
}

static sum_t reduced(local REAL *values, local REAL *errors_of_values, sum_t mine) {
    int item = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    values[item] = mine.value;
    errors_of_values[item] = mine.error;
    for (int half_size = GROUP / 2; half_size > 0; half_size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_size) {
            sum_t sum = {values[item], errors_of_values[item] + errors_of_values[item + half_size]};
            sum = plus(sum, values[item + half_size]);
            values[item] = sum.value;
            errors_of_values[item] = sum.error;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    sum_t total = {values[0], errors_of_values[0]};
    return total;
}

static int valid(RAW raw, LIMIT low, LIMIT high, LIMIT dummy_low, LIMIT dummy_high) {
    LIMIT x = (LIMIT)raw;
    return x >= low && x <= high && !(x >= dummy_low && x <= dummy_high); /* NaN is not >= anything */
}

#if DARK
#define SIGNAL(k, raw) ((REAL)(raw) - (REAL)offset[k])
#else
#define SIGNAL(k, raw) ((REAL)(raw))
#endif
#if SPLIT
#define SHARE(k) ((REAL)share[k])
#else
#define SHARE(k) ((REAL)1)
#endif
#define ARGUMENTS global const RAW *image, global const uint *start, global const uint *pixel, \
    global const float *share, global const float *weight, global const float *offset, \
    LIMIT low, LIMIT high, LIMIT dummy_low, LIMIT dummy_high, float factor, float empty, \
    global float *intensity, global float *errors

/* Local memory comes as arguments: PoCL 3.1 lets its threads share local arrays declared here (wrong sums, crashes). */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void gather(ARGUMENTS, local REAL *values, local REAL *errors_of_values) {
    int bin = get_group_id(0), item = get_local_id(0);
    uint begin = start[bin], end = start[bin + 1];
    sum_t zero = {0, 0}, signals = zero, norms = zero, variances = zero, found = zero;
    for (uint k = begin + item; k < end; k += GROUP) {
        RAW raw = image[pixel[k]];
        if (!valid(raw, low, high, dummy_low, dummy_high)) continue;
        REAL c = SHARE(k);
        signals = plus(signals, c * SIGNAL(k, raw));
        norms = plus(norms, c * (REAL)weight[k]);
        found.value += 1;
#if MODEL == 1
        variances = plus(variances, c * c * fmax((REAL)raw, (REAL)1));
#if DARK_VARIANCE
        variances = plus(variances, c * c * fmax((REAL)offset[k], (REAL)0));
#endif
#endif
    }
    signals = reduced(values, errors_of_values, signals);
    norms = reduced(values, errors_of_values, norms);
    found = reduced(values, errors_of_values, found);
    REAL norm = norms.value + norms.error;
    REAL mean = (signals.value + signals.error) / norm;
#if MODEL == 2
    for (uint k = begin + item; k < end; k += GROUP) {
        RAW raw = image[pixel[k]];
        if (!valid(raw, low, high, dummy_low, dummy_high)) continue;
        REAL away = SHARE(k) * (SIGNAL(k, raw) - (REAL)weight[k] * mean);
        variances = plus(variances, away * away);
    }
#endif
    variances = reduced(values, errors_of_values, variances);
    if (item == 0) {
        int any = found.value > 0;
        intensity[bin] = any ? (float)(mean / factor) : empty;
#if MODEL
        REAL variance = variances.value + variances.error;
        errors[bin] = any ? (float)(sqrt(fmax(variance, (REAL)0)) / (norm * factor)) : empty;
#endif
    }
}

#if WHOLE
/* Per bin: sums[] has the sum of its counts, then how many are not 0 (upper half) and how many pixels are not valid in
   this frame (lower half); gone[] what those take away: sums of norm, dark and max(dark, 0). */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void tally(
    global const COUNT *image, global const uint *start, global const uint *pixel, global const float *weight,
    global const float *offset, ulong low, ulong span, global ulong *sums, global double *gone, local ulong *values,
    local double *losses)
{
    int bin = get_group_id(0), item = get_local_id(0);
    uint begin = start[bin], end = start[bin + 1];
    ulong total = 0, both = 0;
    for (uint k = begin + item; k < end; k += GROUP) {
        ulong count = image[pixel[k]];
        int valid = count - low <= span;
        total += valid ? count : 0;
        both += valid ? (ulong)(count != 0) << 32 : 1;
    }
    values[item] = total;
    values[item + GROUP] = both;
    for (int half_size = GROUP / 2; half_size > 0; half_size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_size) {
            values[item] += values[item + half_size];
            values[item + GROUP] += values[item + GROUP + half_size];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    int lost = (uint)values[GROUP] != 0;
    double norm = 0, dark = 0, dark_variance = 0;
    for (uint k = begin + item; lost && k < end; k += GROUP) {
        ulong count = image[pixel[k]];
        if (count - low <= span) continue;
        norm += (double)weight[k];
#if DARK
        dark += (double)offset[k];
        dark_variance += fmax((double)offset[k], 0.0);
#endif
    }
    losses[item] = norm;
    losses[item + GROUP] = dark;
    losses[item + 2 * GROUP] = dark_variance;
    for (int half_size = GROUP / 2; half_size > 0; half_size /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < half_size) {
            for (int k = item; k < 3 * GROUP; k += GROUP) losses[k] += losses[k + half_size];
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0) {
        sums[2 * bin] = values[0];
        sums[2 * bin + 1] = values[GROUP];
        for (int k = 0; k < 3; k++) gone[3 * bin + k] = losses[k * GROUP];
    }
}
#endif

/* MODEL 3 depends on the order of the pixels: one work item per bin, one pixel after the other. */
kernel void follow(ARGUMENTS, uint bins) {
    uint bin = get_global_id(0);
    if (bin >= bins) return;
    REAL signals = 0, norm = 0, norm_sq = 0, variance = 0;
    for (uint k = start[bin]; k < start[bin + 1]; k++) {
        RAW raw = image[pixel[k]];
        if (!valid(raw, low, high, dummy_low, dummy_high)) continue;
        REAL c = SHARE(k), signal = SIGNAL(k, raw), w = c * (REAL)weight[k];
        if (norm_sq > 0) {
            REAL value = signal / (REAL)weight[k], delta = signals / norm - value;
            signals += c * signal;
            norm += w;
            norm_sq += w * w;
            variance += w * w * delta * (signals / norm - value);
        } else {
            signals = c * signal;
            norm = w;
            norm_sq = w * w;
        }
    }
    intensity[bin] = norm_sq > 0 ? (float)(signals / (norm * factor)) : empty;
    errors[bin] = norm_sq > 0 ? (float)(sqrt(variance) / (norm * factor)) : empty;
}
