/* The pixels at the places index[0 ... number - 1]. Defined at compile time: PIXEL (an unsigned type of their size). */
kernel void take(global const PIXEL *image, global const uint *index, uint number, global PIXEL *taken) {
    uint k = get_global_id(0);
    if (k < number) taken[k] = image[index[k]];
}
