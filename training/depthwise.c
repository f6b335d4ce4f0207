/* Gradients of a 3×3 depthwise convolution on channels-last bfloat16, both in one pass over memory.
   x, dx: [images, side, side, channels]; dy: [images, out, out, channels]; filters, d_filters: [9, channels].
   Channels are processed in blocks of 16, in registers; the last block may overlap the previous one. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bfloat16.h"

enum { KERNEL = 3, TAPS = KERNEL * KERNEL, BLOCK = 16 };

typedef uint16_t halves __attribute__((vector_size(2 * BLOCK), aligned(2)));
typedef uint32_t words __attribute__((vector_size(4 * BLOCK)));
typedef float floats __attribute__((vector_size(4 * BLOCK), aligned(4)));

static inline floats widen_block(const uint16_t *from) {
    return (floats)(__builtin_convertvector(*(const halves *)from, words) << 16);
}

static inline void narrow_block(floats values, uint16_t *to) {
    words bits = (words)values;
    *(halves *)to = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, halves);
}

/* One input row of one block: dx, and its contribution to the filters' gradient. */
static inline __attribute__((always_inline)) void row_of_block(const uint16_t *x, const uint16_t *const dy[KERNEL], const float *filters, long side,
                                long out, long channels, long stride, long padding, uint16_t *dx, floats *sums) {
    floats w[TAPS], g[TAPS];
#pragma GCC unroll 9
    for (int tap = 0; tap < TAPS; tap++) w[tap] = *(const floats *)(filters + tap * channels), g[tap] = sums[tap];
    for (long ix = 0; ix < side; ix++) {
        floats value = widen_block(x + ix * channels), gradient = {0};
#pragma GCC unroll 3
        for (int kx = 0; kx < KERNEL; kx++) {
            long reach = ix + padding - kx;
            if (reach < 0 || reach % stride || reach / stride >= out) continue;
#pragma GCC unroll 3
            for (int ky = 0; ky < KERNEL; ky++) {
                floats slope = widen_block(dy[ky] + reach / stride * channels);
                gradient += w[ky * KERNEL + kx] * slope;
                g[ky * KERNEL + kx] += slope * value;
            }
        }
        narrow_block(gradient, dx + ix * channels);
    }
#pragma GCC unroll 9
    for (int tap = 0; tap < TAPS; tap++) sums[tap] = g[tap];
}

/* Needs at least BLOCK channels and a stride of 1 or 2. */
void depthwise_gradients(const uint16_t *x, const uint16_t *dy, const float *filters, long images, long side, long out,
                         long channels, long stride, long padding, uint16_t *dx, float *d_filters) {
    long blocks = (channels + BLOCK - 1) / BLOCK;
    uint16_t *nothing = calloc(out * channels, sizeof *nothing);
    memset(d_filters, 0, TAPS * channels * sizeof *d_filters);
#pragma omp parallel
    {
        floats *own = aligned_alloc(sizeof *own, blocks * TAPS * sizeof *own);
        memset(own, 0, blocks * TAPS * sizeof *own);
#pragma omp for schedule(static)
        for (long image = 0; image < images; image++)
            for (long iy = 0; iy < side; iy++) {
                const uint16_t *rows[KERNEL];
                for (long ky = 0; ky < KERNEL; ky++) {
                    long reach = iy + padding - ky;
                    int none = reach < 0 || reach % stride || reach / stride >= out;
                    rows[ky] = none ? nothing : dy + (image * out + reach / stride) * out * channels;
                }
                long start = (image * side + iy) * side * channels;
                for (long block = 0; block < blocks; block++) {
                    long c = block * BLOCK < channels - BLOCK ? block * BLOCK : channels - BLOCK;
                    const uint16_t *const at[KERNEL] = {rows[0] + c, rows[1] + c, rows[2] + c};
                    floats *sums = own + block * TAPS;
                    if (stride == 1) /* A constant stride avoids a division per tap. */
                        row_of_block(x + start + c, at, filters + c, side, out, channels, 1, padding, dx + start + c, sums);
                    else
                        row_of_block(x + start + c, at, filters + c, side, out, channels, 2, padding, dx + start + c, sums);
                }
            }
#pragma omp critical
        for (long block = 0; block < blocks; block++) {
            long c = block * BLOCK < channels - BLOCK ? block * BLOCK : channels - BLOCK;
            for (long tap = 0; tap < TAPS; tap++)
                for (long lane = block * BLOCK - c; lane < BLOCK; lane++)
                    d_filters[tap * channels + c + lane] += own[block * TAPS + tap][lane];
        }
        free(own);
    }
    free(nothing);
}
