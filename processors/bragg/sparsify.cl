/* Sigma clipping per radial bin and the search for candidates; see clipping.py, gathering.py and picking.py, which these
 * kernels follow line by line: sums in double, decisions in float. COUNT is the type of the raw counts. */
#pragma OPENCL EXTENSION cl_khr_fp64 : enable

typedef struct { double total, norm, square, variance; int size; } Sums;

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

static Sums sums(global const float *value, global const float *weight, global const float *spread, int begin, int end,
                 local double *shared)
{
    double total = 0, norm = 0, square = 0, variance = 0, size = 0;
    for (int k = begin + get_local_id(0); k < end; k += get_local_size(0)) {
        double w = weight[k];
        if (w == 0) continue;
        total += w * value[k];
        norm += w;
        square += w * w;
        variance += spread[k];
        size += 1;
    }
    Sums found;
    found.total = add_up(total, shared);
    found.norm = add_up(norm, shared);
    found.square = add_up(square, shared);
    found.variance = add_up(variance, shared);
    found.size = (int)add_up(size, shared);
    return found;
}

static double scatter(global const float *value, global const float *weight, int begin, int end, double mean,
                      local double *shared)
{
    double total = 0;
    for (int k = begin + get_local_id(0); k < end; k += get_local_size(0)) {
        double distance = weight[k] * (value[k] - mean);
        total += distance * distance;
    }
    return add_up(total, shared);
}

/* One workgroup, of a power of two, clips one bin. model: 0 variance, 1 azimuthal, 2 hybrid. */
kernel void clip(global const int *start, global const float *value, global float *weight, global const float *spread,
                 int model, double cutoff, int cycles, float empty, global float *means, global float *deviations,
                 local double *shared)
{
    int bin = get_group_id(0), begin = start[bin], end = start[bin + 1];
    int remaining = max(3, end - begin);
    int scattered = model == 1 || (model == 2 && cycles > 0);
    Sums s = sums(value, weight, spread, begin, end, shared);
    float mean = empty, deviation = empty;
    for (int cycle = 0; s.size > 0; cycle++) {
        mean = (float)s.total / (float)s.norm;
        double v = scattered ? scatter(value, weight, begin, end, s.total / s.norm, shared) : s.variance;
        deviation = sqrt((float)v / (float)s.square);
        if (cycle >= cycles || !isfinite(mean) || !isfinite(deviation) || (model == 2 && !scattered)) break;
        float reach = deviation * (float)fmax(cutoff, sqrt(2.0 * log(remaining / sqrt(2.0 * M_PI))));
        double lost = 0;
        for (int k = begin + get_local_id(0); k < end; k += get_local_size(0)) {
            if (weight[k] != 0 && fabs(value[k] - mean) > reach) {
                weight[k] = 0;
                lost += 1;
            }
        }
        int discarded = (int)add_up(lost, shared);
        if (discarded == 0 && model != 2) break;
        remaining = max(3, remaining - discarded);
        if (model == 2 && (discarded == 0 || cycle + 1 == cycles)) scattered = 0;
        s = sums(value, weight, spread, begin, end, shared);
        if (s.size == 0) mean = deviation = empty;
    }
    if (get_local_id(0) == 0) {
        means[bin] = mean;
        deviations[bin] = deviation;
    }
}

/* Pixels above their bin's bound, in any order. */
kernel void candidates(global const float *corrected, global const ushort *bin_of, global const float *bound, int size,
                       global int *found, global int *number)
{
    int i = get_global_id(0);
    if (i < size && corrected[i] > bound[bin_of[i]]) found[atomic_inc(number)] = i;
}
