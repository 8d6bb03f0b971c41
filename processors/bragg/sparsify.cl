/* Sigma clipping per radial bin and the search for candidates; see clipping.py, gathering.py and picking.py, which these
 * kernels follow line by line: sums in double, decisions in float. COUNT is the type of the raw counts. */
#pragma OPENCL EXTENSION cl_khr_fp64 : enable

/* x = (raw - dark) / norm of every pixel, NaN where invalid. limits: low, high, dummy_low, dummy_high. */
kernel void correct(global const COUNT *image, global const float *dark, global const float *norm,
                    int has_dark, int has_norm, double4 limits, int size, global float *corrected)
{
    int i = get_global_id(0);
    if (i >= size) return;
    double raw = (double)image[i];
    float x = (float)image[i];
    if (has_dark) x -= dark[i];
    if (has_norm) x = (norm[i] != 0.0f) ? x / norm[i] : NAN;
    int bad = !(limits.s0 <= raw && raw <= limits.s1) || (limits.s2 <= raw && raw <= limits.s3);
    corrected[i] = (bad || !isfinite(x)) ? NAN : x;
}

/* Sort by bin: value and spread (variance of the raw counts); weight 0 marks a pixel that takes no part. */
kernel void gather(global const COUNT *image, global const float *corrected, global const float *norm,
                   global const float *variance, int has_norm, int has_variance, global const int *indices, int members,
                   global float *value, global float *weight, global float *spread)
{
    int k = get_global_id(0);
    if (k >= members) return;
    int i = indices[k];
    float x = corrected[i];
    float v = has_variance ? variance[i] : fmax((float)image[i], 1.0f);
    int good = isfinite(x) && isfinite(v);
    value[k] = good ? x : 0.0f;
    weight[k] = good ? (has_norm ? norm[i] : 1.0f) : 0.0f;
    spread[k] = good ? v : 0.0f;
}

static double add_up(double mine, local double *shared)
{
    int here = get_local_id(0);
    shared[here] = mine;
    for (int half_way = get_local_size(0) / 2; half_way > 0; half_way /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (here < half_way) shared[here] += shared[here + half_way];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    double sum = shared[0];
    barrier(CLK_LOCAL_MEM_FENCE);
    return sum;
}

/* One workgroup, of a power of two, takes one bin through one cycle; cycle 0 is the first mean and deviation.
 * model: 0 variance, 1 azimuthal, 2 hybrid. state: remaining pixels (Chauvenet's n), and what comes next. A bin that is
 * done goes through with no pixels: every work-item meets every barrier, which some drivers need. */
enum { DONE = 1, SCATTERED = 2 };

kernel void clip(global const int *start, global const float *value, global float *weight, global const float *spread,
                 int cycle, int cycles, int model, double cutoff, float empty, global int *remaining,
                 global int *state, global float *means, global float *deviations, local double *shared)
{
    int bin = get_group_id(0), here = get_local_id(0), step = get_local_size(0);
    int begin = start[bin], members = max(3, start[bin + 1] - begin), before = state[bin];
    int scattered = cycle == 0 ? (model == 1 || (model == 2 && cycles > 0)) : ((before & SCATTERED) != 0);
    int done = cycle > 0 && (before & DONE);
    int end = done ? begin : start[bin + 1];
    int n = cycle == 0 ? members : remaining[bin];
    float mean = means[bin], deviation = deviations[bin];

    float reach = deviation * (float)fmax(cutoff, sqrt(2.0 * log(n / sqrt(2.0 * M_PI))));
    double lost = 0;
    for (int k = begin + here; k < end; k += step) {
        if (cycle > 0 && weight[k] != 0 && fabs(value[k] - mean) > reach) {
            weight[k] = 0;
            lost += 1;
        }
    }
    int discarded = (int)add_up(lost, shared);
    int settled = cycle > 0 && discarded == 0;
    n = max(3, n - discarded);
    if (model == 2 && cycle > 0 && (settled || cycle == cycles)) scattered = 0;

    double total = 0, norm = 0, square = 0, variance = 0, size = 0;
    for (int k = begin + here; k < end; k += step) {
        double w = weight[k];
        if (w != 0) {
            total += w * value[k];
            norm += w;
            square += w * w;
            variance += spread[k];
            size += 1;
        }
    }
    total = add_up(total, shared);
    norm = add_up(norm, shared);
    square = add_up(square, shared);
    variance = add_up(variance, shared);
    size = add_up(size, shared);
    double centre = total / norm, around = 0;
    for (int k = begin + here; k < end; k += step) {
        double distance = weight[k] != 0 ? weight[k] * (value[k] - centre) : 0;
        around += distance * distance;
    }
    around = add_up(around, shared);

    if (here == 0 && !done) {
        if (!(settled && model != 2)) {
            mean = size > 0 ? (float)total / (float)norm : empty;
            deviation = size > 0 ? sqrt((float)(scattered ? around : variance) / (float)square) : empty;
        }
        int over = size == 0 || settled || !isfinite(mean) || !isfinite(deviation);
        means[bin] = mean;
        deviations[bin] = deviation;
        remaining[bin] = n;
        state[bin] = (over ? DONE : 0) | (scattered ? SCATTERED : 0);
    }
}

/* Pixels above their bin's bound, in any order. */
kernel void candidates(global const float *corrected, global const ushort *bin_of, global const float *bound, int size,
                       global int *found, global int *number)
{
    int i = get_global_id(0);
    if (i < size && corrected[i] > bound[bin_of[i]]) found[atomic_inc(number)] = i;
}

/* Raw counts of the pixels within `half_patch` rows and columns around the pixels found[0 ... number - 1]; 0 beyond the
 * frame. */
kernel void patches(global const COUNT *image, global const int *found, int number, int half_patch, int rows, int columns,
                    global COUNT *counts)
{
    int side = 2 * half_patch + 1, k = get_global_id(0);
    if (k >= number * side * side) return;
    int i = found[k / (side * side)], place = k % (side * side);
    int y = i / columns + place / side - half_patch, x = i % columns + place % side - half_patch;
    counts[k] = (y >= 0 && y < rows && x >= 0 && x < columns) ? image[y * columns + x] : 0;
}
