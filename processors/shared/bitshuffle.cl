/* bitshuffle-LZ4 on the device: one work-group per block, from the compressed bytes to pixels in their order.

   Defined at compile time: WIDTH (bytes of a pixel: 1, 2, 4 or 8), PIXEL (the unsigned type of that size), GROUP (work
   items per block; 1 where a core runs a group alone).

   All items of a group read the same tokens, so that they take every turn together and meet every barrier; they share
   the copying. What a block says is believed only where LZ4's own library would (its restrictions at the end of a block
   included), no byte is read outside the block nor written outside its room; a block that is not so is marked in `bad`.
   Format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md. */

#define SYNCHRONISE() barrier(CLK_LOCAL_MEM_FENCE)

/* A length of 15 or more goes on in the next bytes. 0 and `end` where they do not end before `end`. */
static uint longer(global const uchar *source, uint *at, uint end) {
    uint length = 0, more = 255;
    while (more == 255 && *at < end) {
        more = source[(*at)++];
        length += more;
    }
    if (more == 255) *at = end + 1;
    return length;
}

/* Bytes at ... end - 1 of `source` -> `want` bytes of `target`. 1 if they are a whole block of so many bytes, else 0.
   No sum here overflows: the host sends no block on whose compressed bytes are more than LZ4 may need for `want`. */
static int decompressed(global const uchar *source, uint at, uint end, local uchar *target, uint want) {
    uint item = get_local_id(0), to = 0;
    int going = 1, whole = 0;
    while (going) {
        uint literals = 0, length = 0, distance = 1, from = at;
        if (at >= end) {
            going = 0;
        } else {
            uint token = source[at++];
            literals = token >> 4;
            if (literals == 15) literals += longer(source, &at, end);
            from = at;
            if (at > end || literals > end - at || literals > want - to) {
                going = 0;
                literals = 0;
            } else {
                at += literals;
                if (end - at < 8 || want - to - literals < 12) { /* these must be the last ones */
                    going = 0;
                    whole = at == end && to + literals == want;
                } else {
                    distance = source[at] | (uint)source[at + 1] << 8;
                    at += 2;
                    length = (token & 15) + 4;
                    if (length == 19) length += longer(source, &at, end);
                    if (at > end || distance == 0 || distance > to + literals || length > want - to - literals - 5) {
                        going = 0;
                        length = 0;
                    }
                }
            }
        }
        for (uint k = item; k < literals; k += GROUP) target[to + k] = source[from + k];
        to += literals;
        SYNCHRONISE();
        local const uchar *behind = target + to - distance;
        if (distance >= length) {
            for (uint k = item; k < length; k += GROUP) target[to + k] = behind[k];
        } else if (distance == 1) {
            uchar same = behind[0];
            for (uint k = item; k < length; k += GROUP) target[to + k] = same;
        } else {
#if GROUP == 1
            for (uint k = 0; k < length; k++) target[to + k] = behind[k];
#else
            for (uint k = item; k < length; k += GROUP) target[to + k] = behind[k % distance];
#endif
        }
        to += length;
        SYNCHRONISE();
    }
    return whole;
}

/* Eight bits of eight pixels, a byte per bit -> a byte per pixel. */
static ulong transposed(ulong x) {
    ulong t = (x ^ (x >> 7)) & 0x00AA00AA00AA00AAUL;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000CCCC0000CCCCUL;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000F0F0F0F0UL;
    return x ^ t ^ (t << 28);
}

/* sent: where each of the `blocks` blocks begins and the last one ends (blocks + 1 words), then the bytes themselves,
   with the pixels behind the last multiple of 8 as they are. A block has `block` pixels, the last one what is left.
   bad: one byte for each block. shuffled: room for one block. */
kernel __attribute__((reqd_work_group_size(GROUP, 1, 1))) void unpack(
    global const uint *sent, uint blocks, uint block, uint pixels, global PIXEL *image, global uchar *bad,
    local uchar *shuffled)
{
    global const uchar *source = (global const uchar *)(sent + blocks + 1);
    uint number = get_group_id(0), item = get_local_id(0), whole = pixels & ~7u;
    uint first = number * block, count = min(block, whole - first), eighth = count / 8;
    int good = decompressed(source, sent[number] + 4, sent[number + 1], shuffled, count * WIDTH);
    for (uint j = item; good && j < eighth; j += GROUP) {
        PIXEL found[8] = {0, 0, 0, 0, 0, 0, 0, 0};
        for (uint k = 0; k < WIDTH; k++) {
            ulong bits = 0;
            for (uint b = 0; b < 8; b++) bits |= (ulong)shuffled[(8 * k + b) * eighth + j] << (8 * b);
            if (bits == 0) continue;
            bits = transposed(bits);
            for (uint e = 0; e < 8; e++) found[e] |= (PIXEL)((bits >> (8 * e)) & 255) << (8 * k);
        }
        for (uint e = 0; e < 8; e++) image[first + 8 * j + e] = found[e];
    }
    if (item == 0) {
        bad[number] = !good;
        if (number == blocks - 1) {
            global uchar *tail = (global uchar *)(image + whole);
            for (uint k = 0; k < (pixels - whole) * WIDTH; k++) tail[k] = source[sent[blocks] + k];
        }
    }
}
