/* Maximum over the group on channels-last bfloat16, and its gradient.
   x, dx: [pixels, copies, fields]; y, dy, argmax: [pixels, fields]; the first of equal values wins. */

#include <stdint.h>

#include "bfloat16.h"

void group_max(const uint16_t *x, long pixels, long copies, long fields, uint16_t *restrict y,
               uint8_t *restrict argmax) {
#pragma omp parallel for schedule(static)
    for (long pixel = 0; pixel < pixels; pixel++) {
        const uint16_t *orbit = x + pixel * copies * fields;
        uint16_t *best = y + pixel * fields;
        uint8_t *where = argmax + pixel * fields;
        for (long f = 0; f < fields; f++) best[f] = orbit[f], where[f] = 0;
        for (long g = 1; g < copies; g++)
            for (long f = 0; f < fields; f++) {
                uint16_t candidate = orbit[g * fields + f];
                int larger = widen(candidate) > widen(best[f]);
                best[f] = larger ? candidate : best[f];
                where[f] = larger ? (uint8_t)g : where[f];
            }
    }
}

void group_max_gradient(const uint16_t *dy, const uint8_t *argmax, long pixels, long copies, long fields,
                        uint16_t *restrict dx) {
#pragma omp parallel for schedule(static)
    for (long pixel = 0; pixel < pixels; pixel++)
        for (long g = 0; g < copies; g++)
            for (long f = 0; f < fields; f++)
                dx[(pixel * copies + g) * fields + f] =
                    argmax[pixel * fields + f] == g ? dy[pixel * fields + f] : 0;
}
