/* Training-mode batch norm with ReLU on bfloat16 rows, in few passes over memory.
   x, y, dy, dx: [rows, channels]; sums are per channel, float32. */

#include <stdint.h>
#include <string.h>

#include "bfloat16.h"

enum { MAX_CHANNELS = 4096, BLOCK_ROWS = 64 };

/* Sums x and x·x per channel, or if dy is given, dy and x·dy. If scale and shift are given, dy counts as 0 where
   x·scale + shift is not positive, that is, where the ReLU is inactive. */
void reduce_rows(const uint16_t *x, const uint16_t *dy, const float *restrict scale, const float *restrict shift,
                 long rows, long channels, float *restrict first, float *restrict second) {
    long blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    double total_first[MAX_CHANNELS] = {0}, total_second[MAX_CHANNELS] = {0};
#pragma omp parallel
    {
        double own_first[MAX_CHANNELS], own_second[MAX_CHANNELS];
        float a[MAX_CHANNELS], b[MAX_CHANNELS];
        memset(own_first, 0, channels * sizeof *own_first);
        memset(own_second, 0, channels * sizeof *own_second);
#pragma omp for schedule(static)
        for (long block = 0; block < blocks; block++) {
            long end = (block + 1) * BLOCK_ROWS < rows ? (block + 1) * BLOCK_ROWS : rows;
            memset(a, 0, channels * sizeof *a);
            memset(b, 0, channels * sizeof *b);
            for (long row = block * BLOCK_ROWS; row < end; row++) {
                const uint16_t *xr = x + row * channels;
                const uint16_t *dr = dy ? dy + row * channels : xr;
                if (scale)
                    for (long c = 0; c < channels; c++) {
                        float value = widen(xr[c]);
                        float d = value * scale[c] + shift[c] > 0.0f ? widen(dr[c]) : 0.0f;
                        a[c] += d;
                        b[c] += d * value;
                    }
                else
                    for (long c = 0; c < channels; c++) {
                        float d = widen(dr[c]);
                        a[c] += d;
                        b[c] += d * widen(xr[c]);
                    }
            }
            for (long c = 0; c < channels; c++) {
                own_first[c] += a[c];
                own_second[c] += b[c];
            }
        }
#pragma omp critical
        for (long c = 0; c < channels; c++) {
            total_first[c] += own_first[c];
            total_second[c] += own_second[c];
        }
    }
    for (long c = 0; c < channels; c++) {
        first[c] = (float)total_first[c];
        second[c] = (float)total_second[c];
    }
}

/* y = x·scale + shift, then optionally ReLU. */
void scale_shift(const uint16_t *x, const float *restrict scale, const float *restrict shift, long relu, long rows,
                 long channels, uint16_t *restrict y) {
    float floor = relu ? 0.0f : -__builtin_inff();
#pragma omp parallel for schedule(static)
    for (long row = 0; row < rows; row++) {
        const uint16_t *xr = x + row * channels;
        uint16_t *yr = y + row * channels;
        for (long c = 0; c < channels; c++) {
            float value = widen(xr[c]) * scale[c] + shift[c];
            yr[c] = narrow(value < floor ? floor : value);
        }
    }
}

/* dx = dy·a + x·b + c, with dy = 0 where the ReLU is inactive, as in reduce_rows. */
void input_gradient(const uint16_t *x, const uint16_t *dy, const float *restrict scale, const float *restrict shift,
                    const float *restrict a, const float *restrict b, const float *restrict c, long rows, long channels,
                    uint16_t *restrict dx) {
#pragma omp parallel for schedule(static)
    for (long row = 0; row < rows; row++) {
        const uint16_t *xr = x + row * channels, *dr = dy + row * channels;
        uint16_t *out = dx + row * channels;
        if (scale)
            for (long i = 0; i < channels; i++) {
                float value = widen(xr[i]);
                float d = value * scale[i] + shift[i] > 0.0f ? widen(dr[i]) : 0.0f;
                out[i] = narrow(d * a[i] + value * b[i] + c[i]);
            }
        else
            for (long i = 0; i < channels; i++) out[i] = narrow(widen(dr[i]) * a[i] + widen(xr[i]) * b[i] + c[i]);
    }
}
