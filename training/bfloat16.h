/* bfloat16 is the upper half of a float32. */

#include <stdint.h>
#include <string.h>

static inline float widen(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

static inline uint16_t narrow(float value) { /* to nearest, ties to even; the NaNs of arithmetic stay NaN */
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
