/* The loops over a patch's pixels: what model_zoo/quality.py and model_zoo/turns.py compute with NumPy where this is not
 * built. All arithmetic is on integers, so that both give the same bits on every CPU. */

#include "kernels.h"
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { PIXELS = SIDE * SIDE, ROW = SIDE * 3, TAPS = 4, UNIT_BITS = 14 };
enum { EDGE = TAPS - 1, PADDED = SIDE + 2 * EDGE };

/* Quality */

typedef struct {
    int64_t pixels, density[3], laplacian, squares;
} Sums;

static void sum_tissue(const uint8_t *patch, const int32_t *density, int32_t limit, Sums *sums)
{
    int32_t pixels = 0, red = 0, green = 0, blue = 0; /* below 2^31: 9216 * 157836 */
    for (int y = 0; y < SIDE; y++) {
        int start = disc_start(y);
        const uint8_t *end = patch + y * ROW + 3 * (SIDE - start);
        for (const uint8_t *p = patch + y * ROW + 3 * start; p < end; p += 3) {
            int32_t r = density[p[0]], g = density[p[1]], b = density[p[2]];
            int32_t tissue = -(r + g + b > limit);
            pixels -= tissue;
            red += r & tissue;
            green += g & tissue;
            blue += b & tissue;
        }
    }
    sums->pixels = pixels;
    sums->density[0] = red;
    sums->density[1] = green;
    sums->density[2] = blue;
}

static void sum_laplacian(const uint8_t *patch, Sums *sums)
{
    int16_t luma[PIXELS];
    for (int i = 0; i < PIXELS; i++)
        luma[i] = (int16_t)((77 * patch[3 * i] + 150 * patch[3 * i + 1] + 29 * patch[3 * i + 2]) >> 8);
    int64_t total = 0, squares = 0;
    for (int y = 1; y < SIDE - 1; y++) {
        int start = disc_start(y);
        if (start < 1)
            start = 1;
        int32_t row_total = 0, row_squares = 0; /* below 2^31: 96 * 1020^2 */
        const int16_t *end = luma + y * SIDE + SIDE - start;
        for (const int16_t *p = luma + y * SIDE + start; p < end; p++) {
            int32_t value = p[-SIDE] + p[SIDE] + p[-1] + p[1] - 4 * p[0];
            row_total += value;
            row_squares += value * value;
        }
        total += row_total;
        squares += row_squares;
    }
    sums->laplacian = total;
    sums->squares = squares;
}

static PyObject *quality_sums(PyObject *module, PyObject *arguments)
{
    Py_buffer patch, density;
    int limit;
    Sums sums;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*i", &patch, &density, &limit))
        return NULL;
    if (has_size(&patch, PIXELS * 3, "the patch") && has_size(&density, 256 * sizeof(int32_t), "the densities")) {
        Py_BEGIN_ALLOW_THREADS
        sum_tissue(patch.buf, density.buf, limit, &sums);
        sum_laplacian(patch.buf, &sums);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("LLLLLL", (long long)sums.pixels, (long long)sums.density[0], (long long)sums.density[1],
                               (long long)sums.density[2], (long long)sums.laplacian, (long long)sums.squares);
    }
    PyBuffer_Release(&patch);
    PyBuffer_Release(&density);
    return result;
}

/* Turns */

/* A patch whose edge pixels are repeated so far that a place at most EDGE outside has all its taps; red, green, blue, 0. */
typedef uint8_t Padded[PADDED][PADDED][4];

static int clipped(int coordinate, int least, int most)
{
    return coordinate < least ? least : coordinate > most ? most : coordinate;
}

static void pad(const uint8_t *patch, Padded padded)
{
    for (int y = 0; y < PADDED; y++)
        for (int x = 0; x < PADDED; x++) {
            const uint8_t *p = patch + ROW * clipped(y - EDGE, 0, SIDE - 1) + 3 * clipped(x - EDGE, 0, SIDE - 1);
            padded[y][x][0] = p[0];
            padded[y][x][1] = p[1];
            padded[y][x][2] = p[2];
            padded[y][x][3] = 0;
        }
}

#ifdef __SSE2__

/* Adds two taps of a row: pairs holds red, red, green, green, blue, blue, 0, 0 in its lower half. */
#define ADD_TAPS(sum, pairs, weights, k) \
    _mm_add_epi32(sum, _mm_madd_epi16(_mm_unpacklo_epi8(pairs, zero), _mm_shuffle_epi32(weights, 0x55 * (k))))

/* One pixel, from the 4x4 pixels at a place of the padded patch. */
static inline void weigh(uint8_t (*from)[4], const int16_t *weights, uint8_t *out)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i first = _mm_set1_epi32(1 << (UNIT_BITS - 1)), second = zero;
#pragma GCC unroll 2
    for (int i = 0; i < TAPS; i += 2, from += 2 * PADDED, weights += 2 * TAPS) {
        __m128i factors = _mm_loadu_si128((const __m128i *)weights);
        __m128i upper = _mm_loadu_si128((const __m128i *)from), lower = _mm_loadu_si128((const __m128i *)(from + PADDED));
        __m128i upper_next = _mm_srli_si128(upper, 4), lower_next = _mm_srli_si128(lower, 4);
        first = ADD_TAPS(first, _mm_unpacklo_epi8(upper, upper_next), factors, 0);
        second = ADD_TAPS(second, _mm_unpackhi_epi8(upper, upper_next), factors, 1);
        first = ADD_TAPS(first, _mm_unpacklo_epi8(lower, lower_next), factors, 2);
        second = ADD_TAPS(second, _mm_unpackhi_epi8(lower, lower_next), factors, 3);
    }
    __m128i rounded = _mm_srai_epi32(_mm_add_epi32(first, second), UNIT_BITS);
    rounded = _mm_packs_epi32(rounded, rounded);
    uint32_t pixel = (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(rounded, rounded));
    out[0] = (uint8_t)pixel;
    out[1] = (uint8_t)(pixel >> 8);
    out[2] = (uint8_t)(pixel >> 16);
}

#else

static inline void weigh(uint8_t (*from)[4], const int16_t *weights, uint8_t *out)
{
    int32_t red = 1 << (UNIT_BITS - 1), green = red, blue = red;
#pragma GCC unroll 4
    for (int i = 0; i < TAPS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < TAPS; j++) {
            int32_t weight = weights[TAPS * i + j];
            red += weight * from[PADDED * i + j][0];
            green += weight * from[PADDED * i + j][1];
            blue += weight * from[PADDED * i + j][2];
        }
    out[0] = (uint8_t)clipped(red >> UNIT_BITS, 0, 255);
    out[1] = (uint8_t)clipped(green >> UNIT_BITS, 0, 255);
    out[2] = (uint8_t)clipped(blue >> UNIT_BITS, 0, 255);
}

#endif

static void interpolate(const uint8_t *patch, const int16_t *places, const int16_t *weights, uint8_t *out)
{
    Padded padded;
    pad(patch, padded);
    for (int i = 0; i < PIXELS; i++) {
        int y = clipped(places[2 * i], -EDGE, SIDE - 1), x = clipped(places[2 * i + 1], -EDGE, SIDE - 1);
        weigh(&padded[y + EDGE][x + EDGE], weights + TAPS * TAPS * i, out + 3 * i);
    }
}

static PyObject *interpolated(PyObject *module, PyObject *arguments)
{
    Py_buffer patch, places, weights, out;
    int fits;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*y*w*", &patch, &places, &weights, &out))
        return NULL;
    fits = has_size(&patch, PIXELS * 3, "the patch") && has_size(&places, PIXELS * 2 * sizeof(int16_t), "the places") &&
           has_size(&weights, PIXELS * TAPS * TAPS * sizeof(int16_t), "the weights") &&
           has_size(&out, PIXELS * 3, "the result");
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        interpolate(patch.buf, places.buf, weights.buf, out.buf);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&patch);
    PyBuffer_Release(&places);
    PyBuffer_Release(&weights);
    PyBuffer_Release(&out);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *permuted(PyObject *module, PyObject *arguments)
{
    Py_buffer patch, out;
    int first, down, right, fits;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*iiiw*", &patch, &first, &down, &right, &out))
        return NULL;
    fits = has_size(&patch, PIXELS * 3, "the patch") && has_size(&out, PIXELS * 3, "the result");
    for (int corner = 0; fits && corner < 4; corner++) {
        int64_t place = first + (int64_t)(SIDE - 1) * ((corner & 1 ? down : 0) + (int64_t)(corner & 2 ? right : 0));
        if (place < 0 || place >= PIXELS) {
            PyErr_SetString(PyExc_ValueError, "the permutation leaves the patch");
            fits = 0;
        }
    }
    if (fits) {
        uint8_t *to = out.buf;
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++, to += 3) {
                const uint8_t *from = (const uint8_t *)patch.buf + 3 * (first + y * down + x * right);
                to[0] = from[0];
                to[1] = from[1];
                to[2] = from[2];
            }
    }
    PyBuffer_Release(&patch);
    PyBuffer_Release(&out);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"quality_sums", quality_sums, METH_VARARGS,
     "quality_sums(patch, density, limit): tissue pixels, their densities, and sums of the Laplacian and its square."},
    {"interpolated", interpolated, METH_VARARGS,
     "interpolated(patch, places, weights, out): each pixel from the 4x4 pixels at its place, clipped to the patch."},
    {"permuted", permuted, METH_VARARGS,
     "permuted(patch, first, down, right, out): pixel (y, x) is the patch's pixel first + y * down + x * right."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModule_Create(&definition);
}
