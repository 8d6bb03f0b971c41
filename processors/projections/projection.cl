/* What is done to one projection: processors/projections/stage.py on a device, the same formulas and roundings.

Defined at compile time: RAW, the type of the counts; COLUMNS, ROWS of the image as it came; TURNS, clockwise; TOP, LEFT,
WIDTH of what is kept of the turned image; CHECKED (pixels may be bad), DIVIDED (by an open beam); GROUP, work items of a
group; BLOCK, rows of a group that prepares an image; AT_ONCE, 16 on a CPU, neighbouring pixels that an item takes at once.

A group has a row (a core of a CPU runs one alone, whose loops the compiler makes wide), and counts in it for itself. */
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#pragma OPENCL FP_CONTRACT OFF

#define EACH(column, width) for (int column = get_local_id(0); column < (width); column += GROUP)
#define COUNTS                                                                                                         \
    global const RAW *restrict image, global const float *restrict dark, global const double *restrict gain,          \
        global const uchar *restrict mask, double factor, double low, double high, double dummy_low, double dummy_high
#define GIVEN image, dark, gain, mask, factor, low, high, dummy_low, dummy_high

/* The sum over the group, for its item 0. */
void total(uint mine, local uint *room, global uint *into) {
#if GROUP == 1
    *into = mine;
#else
    int me = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE);
    room[me] = mine;
    for (int rest = GROUP / 2; rest > 0; rest /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (me < rest) room[me] += room[me + rest];
    }
    if (me == 0) *into = room[0];
#endif
}

/* Of a pixel of the turned image; NAN where it is not known. */
float transmission(COUNTS, int row, int column) {
#if TURNS == 0
    size_t place = (size_t)row * COLUMNS + column;
#elif TURNS == 1
    size_t place = (size_t)(ROWS - 1 - column) * COLUMNS + row;
#elif TURNS == 2
    size_t place = (size_t)(ROWS - 1 - row) * COLUMNS + (COLUMNS - 1 - column);
#else
    size_t place = (size_t)column * COLUMNS + (COLUMNS - 1 - row);
#endif
    double count = image[place];
#if DIVIDED
    float found = (float)((count - dark[place]) * gain[place] * factor);
#else
    float found = (float)image[place];
#endif
#if CHECKED
    int good = mask[place] == 0 & count >= low & count <= high & !(count >= dummy_low & count <= dummy_high) & !isinf(count);
    found = good ? found : NAN;
#endif
    return found;
}

/* Sum and number of the known pixels in each row of a region. */
kernel void air(COUNTS, int top, int left, int width, global double *sums, global uint *numbers) {
    local double room[GROUP];
    local uint counted[GROUP];
    int row = get_group_id(0), me = get_local_id(0);
    double sum = 0;
    uint number = 0;
    EACH(column, width) {
        float value = transmission(GIVEN, row + top, column + left);
        int there = isfinite(value);
        sum += there ? (double)value : 0.0;
        number += there;
    }
    total(number, counted, numbers + row);
    room[me] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int each = 1; me == 0 && each < GROUP; each++) sum += room[each];
    if (me == 0) sums[row] = sum;
}

/* What is kept of the image, over `level` if that is not 0, and how many pixels of each row are no numbers. A group has
BLOCK rows, whose pixels are neighbours in an image that is turned by 90 degrees. */
kernel void prepare(COUNTS, int rows, double level, global float *restrict found, global uint *bad) {
    local uint room[GROUP];
    int top = get_group_id(0) * BLOCK, end = BLOCK == 1 ? 1 : min(BLOCK, rows - top);
    global float *block = found + (size_t)top * WIDTH;
    uint numbers[BLOCK];
    for (int row = 0; row < BLOCK; row++) numbers[row] = 0;
    EACH(column, WIDTH)
        for (int row = 0; row < end; row++) {
            float value = transmission(GIVEN, top + row + TOP, column + LEFT);
            if (level != 0) value = (float)((double)value / level);
            block[(size_t)row * WIDTH + column] = value;
            numbers[row] += !isfinite(value);
        }
    for (int row = 0; row < end; row++) total(numbers[row], room, bad + top + row);
}

/* Pixels that are no numbers: on the line between their good neighbours in the row. Each item has a part of the row. */
kernel void between(global float *found, global const uint *bad) {
    local int first[GROUP], last[GROUP];
    int row = get_group_id(0), me = get_local_id(0);
    if (bad[row] == 0 || bad[row] == WIDTH) return;
    global float *line = found + (size_t)row * WIDTH;
    int part = (WIDTH + GROUP - 1) / GROUP, from = me * part, to = min(from + part, WIDTH);
    int before = -1, behind = WIDTH;
    for (int column = to - 1; column >= from; column--) behind = isfinite(line[column]) ? column : behind;
    for (int column = from; column < to; column++) before = isfinite(line[column]) ? column : before;
    first[me] = behind;
    last[me] = before;
    barrier(CLK_LOCAL_MEM_FENCE);
    before = -1;
    behind = WIDTH;
    for (int each = 0; each < me; each++) before = max(before, last[each]);
    for (int each = me + 1; each < GROUP; each++) behind = min(behind, first[each]);
    for (int column = from; column < to;) {
        if (isfinite(line[column])) {
            before = column++;
            continue;
        }
        int next = column;
        while (next < to && !isfinite(line[next])) next++;
        int right = next < to ? next : behind;
        double start = line[before < 0 ? right : before], end = line[right == WIDTH ? before : right];
        double slope = before < 0 || right == WIDTH ? 0.0 : (end - start) / (double)(right - before);
        for (; column < next; column++) line[column] = (float)(slope * (double)(column - before) + start);
    }
}

/* Rows without a good pixel: on the line between the rows before and behind, `part` of the way. A group per such row. */
kernel void between_rows(global float *found, global const int *rows, global const double *parts) {
    int number = get_group_id(0);
    double part = parts[number];
    global float *line = found + (size_t)rows[3 * number] * WIDTH;
    global const float *before = found + (size_t)rows[3 * number + 1] * WIDTH;
    global const float *behind = found + (size_t)rows[3 * number + 2] * WIDTH;
    EACH(column, WIDTH) line[column] = (float)((1.0 - part) * before[column] + part * behind[column]);
}

/* Below `limit`: `low`. */
kernel void cut(global float *found, float limit, float low) {
    global float *line = found + (size_t)get_group_id(0) * WIDTH;
    EACH(column, WIDTH) line[column] = line[column] < limit ? low : line[column];
}

/* Where a place beyond the edge lies: about the outermost pixel's middle (mirror), or about its outer edge. */
int inside(int place, int length, int mirror) {
    int period = mirror ? max(2 * (length - 1), 1) : 2 * length;
    place = (place % period + period) % period;
    return place < length ? place : mirror ? period - place : period - 1 - place;
}

/* The image with so many more pixels around that a square of `size` fits everywhere. A group per row of it. */
kernel void pad(global const float *restrict found, int rows, int size, int mirror, global float *restrict wide) {
    int before = size / 2, row = get_group_id(0);
    global const float *from = found + (size_t)inside(row - before, rows, mirror) * WIDTH;
    global float *line = wide + (size_t)row * (WIDTH + size - 1);
    EACH(column, WIDTH + size - 1) {
        int place = column - before;
        line[column] = from[place < 0 || place >= WIDTH ? inside(place, WIDTH, mirror) : place];
    }
}

#define LESS(a, b) ((a) < (b) ? (a) : (b))
#define MORE(a, b) ((a) < (b) ? (b) : (a))
#define SORT(a, b) { float less = LESS(a, b); b = MORE(a, b); a = less; }
#define MIDDLE(a, b, c) MORE(LESS(a, b), LESS(MORE(a, b), c))

/* By exchanges, as `pixels._medians`. */
float of_nine(global const float *above, global const float *middle, global const float *below) {
    float a = above[0], b = above[1], c = above[2], d = middle[0], e = middle[1], f = middle[2];
    float g = below[0], h = below[1], i = below[2];
    SORT(b, c) SORT(e, f) SORT(h, i)
    SORT(a, b) SORT(d, e) SORT(g, h)
    SORT(b, c) SORT(e, f) SORT(h, i)
    float lowest = MORE(MORE(d, g), a), highest = LESS(LESS(f, i), c), central = MIDDLE(b, e, h);
    return MIDDLE(lowest, highest, central);
}

/* A number that grows with the float. */
uint key(float value) {
    uint bits = as_uint(value);
    return bits ^ (bits & 0x80000000u ? 0xFFFFFFFFu : 0x80000000u);
}

/* The medians of the squares whose first rows begin at first[0], first[1] ...: of an even number of pixels the upper one.
For other than 3 x 3 bit by bit, from the highest: how many are below what is known with this bit set? */
void medians(global const float *first, int wide, int size, float *found) {
    if (size == 3) {
        for (int each = 0; each < AT_ONCE; each++)
            found[each] = of_nine(first + each, first + wide + each, first + 2 * wide + each);
        return;
    }
    uint known[AT_ONCE], below[AT_ONCE];
    for (int each = 0; each < AT_ONCE; each++) known[each] = 0;
    for (uint bit = 0x80000000u; bit; bit >>= 1) {
        for (int each = 0; each < AT_ONCE; each++) below[each] = 0;
        for (int row = 0; row < size; row++)
            for (int column = 0; column < size; column++) {
                global const float *from = first + row * wide + column;
                for (int each = 0; each < AT_ONCE; each++) below[each] += key(from[each]) < (known[each] | bit);
            }
        for (int each = 0; each < AT_ONCE; each++)
            if (below[each] <= (uint)(size * size / 2)) known[each] |= bit;
    }
    for (int each = 0; each < AT_ONCE; each++)
        found[each] = as_float(known[each] ^ (known[each] & 0x80000000u ? 0x80000000u : 0xFFFFFFFFu));
}

/* The image behind `pad`: each pixel becomes the median, if it is off it by `difference` (kind 1: above, -1: below, 0:
either; 2: whatever it is). How many of each row are off. */
kernel void median(
    global const float *restrict wide, int size, int kind, float difference, global float *restrict found,
    global uint *numbers
) {
    local uint room[GROUP];
    float around[AT_ONCE];
    int row = get_group_id(0), span = WIDTH + size - 1;
    global const float *from = wide + (size_t)row * span, *own = from + (size_t)(size / 2) * span + size / 2;
    global float *line = found + (size_t)row * WIDTH;
    uint number = 0;
    for (int start = get_local_id(0) * AT_ONCE; start < WIDTH; start += GROUP * AT_ONCE) {
        medians(from + start, span, size, around);
        int end = min(AT_ONCE, WIDTH - start);
        for (int each = 0; each < end; each++) {
            float value = own[start + each], off = value - around[each];
            int above = off >= difference, below = off <= -difference;
            int wrong = kind == 2 | above & (kind >= 0) | below & (kind <= 0);
            line[start + each] = wrong ? around[each] : value;
            number += wrong;
        }
    }
    total(number, room, numbers + row);
}

/* -ln; below `least`: of that. How many of each row are. */
kernel void logarithm(global float *found, double least, global uint *low) {
    local uint room[GROUP];
    int row = get_group_id(0);
    global float *line = found + (size_t)row * WIDTH;
    uint number = 0;
    int done = 0;
#if AT_ONCE == 16
    for (; done + 16 <= WIDTH; done += 16) {  // whole vectors: the compiler makes none of a logarithm
        float16 values = vload16(0, line + done);
        for (int each = 0; each < 16; each++) number += (double)line[done + each] < least;
        vstore16(-log(max(values, (float)least)), 0, line + done);
    }
#endif
    for (int column = done + get_local_id(0); column < WIDTH; column += GROUP) {
        float value = line[column];
        int dark = (double)value < least;
        number += dark;
        line[column] = -log(dark ? (float)least : value);
    }
    total(number, room, low + row);
}

/* Blocks of size x size pixels, their sum over `divisor`. A group per row of `width` blocks. */
kernel void scale(global const float *restrict found, int size, int width, double divisor, global float *restrict small) {
    int row = get_group_id(0);
    global const float *from = found + (size_t)row * size * WIDTH;
    EACH(column, width) {
        double sum = 0;
        for (int y = 0; y < size; y++)
            for (int x = 0; x < size; x++) sum += from[(size_t)y * WIDTH + (size_t)column * size + x];
        small[(size_t)row * width + column] = (float)(sum / divisor);
    }
}
