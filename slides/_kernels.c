/* The loops over a slide's pixels: what slides/raster.py and slides/quality.py compute with NumPy where this is not built.
 * All arithmetic is on integers, so that both give the same bits on every CPU. */

#include "kernels.h"
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { STRIDE = 32, MAX_TAPS = 1 << 16, MAX_PATCHES = 1 << 15 };

/* Means over areas. The weights of a pixel add up to 256 across and down, and a mean is rounded once. */

typedef struct {
    const int64_t *index;   /* [taps][count] */
    const uint16_t *weight; /* [taps][count] */
    int taps;
    Py_ssize_t count;
} Taps;

/* One row of sums: the source's rows, weighed; at most 255 * 256. */
static void weigh_rows(const uint8_t *source, Py_ssize_t bytes, const Taps *down, Py_ssize_t row, uint16_t *total)
{
    memset(total, 0, bytes * sizeof *total);
    for (int tap = 0; tap < down->taps; tap++) {
        uint16_t weight = down->weight[tap * down->count + row];
        const uint8_t *from = source + down->index[tap * down->count + row] * bytes;
        Py_ssize_t i = 0;
        if (!weight)
            continue;
#ifdef __SSE2__
        const __m128i factor = _mm_set1_epi16((short)weight), zero = _mm_setzero_si128();
        for (; i + 16 <= bytes; i += 16) {
            __m128i pixels = _mm_loadu_si128((const __m128i *)(from + i));
            __m128i *low = (__m128i *)(total + i), *high = (__m128i *)(total + i + 8);
            __m128i first = _mm_mullo_epi16(_mm_unpacklo_epi8(pixels, zero), factor);
            __m128i second = _mm_mullo_epi16(_mm_unpackhi_epi8(pixels, zero), factor);
            _mm_storeu_si128(low, _mm_add_epi16(_mm_loadu_si128(low), first));
            _mm_storeu_si128(high, _mm_add_epi16(_mm_loadu_si128(high), second));
        }
#endif
        for (; i < bytes; i++)
            total[i] = (uint16_t)(total[i] + weight * from[i]);
    }
}

/* One row of the result: red, green, blue of sums of blue, green, red and a byte more. */
static void weigh_columns(const uint16_t *total, const Taps *across, uint8_t *out)
{
    for (Py_ssize_t column = 0; column < across->count; column++, out += 3) {
#ifdef __SSE2__
        __m128i sum = _mm_set1_epi32(1 << 15);
        for (int tap = 0; tap < across->taps; tap++) {
            __m128i factor = _mm_set1_epi16((short)across->weight[tap * across->count + column]);
            __m128i from =
                _mm_loadl_epi64((const __m128i *)(total + 4 * across->index[tap * across->count + column]));
            sum = _mm_add_epi32(sum, _mm_unpacklo_epi16(_mm_mullo_epi16(from, factor), _mm_mulhi_epu16(from, factor)));
        }
        sum = _mm_srli_epi32(sum, 16);
        sum = _mm_packs_epi32(sum, sum);
        uint32_t pixel = (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
        out[0] = (uint8_t)(pixel >> 16);
        out[1] = (uint8_t)(pixel >> 8);
        out[2] = (uint8_t)pixel;
#else
        uint32_t sum[3] = {1 << 15, 1 << 15, 1 << 15};
        for (int tap = 0; tap < across->taps; tap++) {
            uint32_t weight = across->weight[tap * across->count + column];
            const uint16_t *from = total + 4 * across->index[tap * across->count + column];
            for (int channel = 0; channel < 3; channel++)
                sum[channel] += weight * from[channel];
        }
        for (int channel = 0; channel < 3; channel++)
            out[channel] = (uint8_t)(sum[2 - channel] >> 16);
#endif
    }
}

/* Whether every pixel of the result is a mean of pixels that are there. */
static int is_mean(const Taps *taps, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < taps->count; i++) {
        uint32_t sum = 0;
        for (int tap = 0; tap < taps->taps; tap++) {
            int64_t index = taps->index[tap * taps->count + i];
            if (index < 0 || index >= size)
                return 0;
            sum += taps->weight[tap * taps->count + i];
        }
        if (sum != 256)
            return 0;
    }
    return 1;
}

static int taps_of(const Py_buffer *index, const Py_buffer *weight, Py_ssize_t count, Py_ssize_t size, Taps *taps)
{
    Py_ssize_t each = count * (Py_ssize_t)sizeof(int64_t);
    if (count < 1 || index->len % each || index->len / each < 1 || index->len / each > MAX_TAPS ||
        weight->len * 4 != index->len) {
        PyErr_SetString(PyExc_ValueError, "the indices and weights do not fit each other");
        return 0;
    }
    *taps = (Taps){index->buf, weight->buf, (int)(index->len / each), count};
    if (!is_mean(taps, size)) {
        PyErr_SetString(PyExc_ValueError, "the weights are those of no mean of these pixels");
        return 0;
    }
    return 1;
}

static PyObject *averaged(PyObject *module, PyObject *arguments)
{
    Py_buffer source, across_index, across_weight, down_index, down_weight, out;
    Py_ssize_t width, columns, rows;
    Taps across, down;
    uint16_t *total = NULL;
    int fits;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*ny*y*ny*y*nw*", &source, &width, &across_index, &across_weight, &columns,
                          &down_index, &down_weight, &rows, &out))
        return NULL;
    fits = width >= 1 && width <= INT32_MAX && source.len % (4 * width) == 0;
    if (!fits)
        PyErr_SetString(PyExc_ValueError, "the pixels are no rectangle");
    fits = fits && taps_of(&across_index, &across_weight, columns, width, &across) &&
           taps_of(&down_index, &down_weight, rows, source.len / (4 * width), &down) &&
           has_size(&out, 3 * columns * rows, "the result");
    if (fits && !(total = malloc(4 * width * sizeof *total))) {
        PyErr_NoMemory();
        fits = 0;
    }
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        for (Py_ssize_t row = 0; row < rows; row++) {
            weigh_rows(source.buf, 4 * width, &down, row, total);
            weigh_columns(total, &across, (uint8_t *)out.buf + 3 * columns * row);
        }
        Py_END_ALLOW_THREADS
    }
    free(total);
    PyBuffer_Release(&source);
    PyBuffer_Release(&across_index);
    PyBuffer_Release(&across_weight);
    PyBuffer_Release(&down_index);
    PyBuffer_Release(&down_weight);
    PyBuffer_Release(&out);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

/* Quality: sums over the disc of every patch, from prefix sums along each row. Those of a row of a disc lie below 2^31, so
 * their differences are right however often the prefix sums wrap. */

enum { PIXELS, RED, GREEN, BLUE, LAPLACIAN, SQUARES, SUMS, PADDED = 8 };

typedef uint32_t Prefix[PADDED];

static void fill_luma(const uint8_t *row, Py_ssize_t width, int16_t *luma)
{
    for (Py_ssize_t x = 0; x < width; x++)
        luma[x] = (int16_t)((77 * row[3 * x] + 150 * row[3 * x + 1] + 29 * row[3 * x + 2]) >> 8);
}

/* Prefix sums of one row; ``luma`` are those of the rows above, of it and below, or NULL at the block's edge. */
static void fill_prefix(const uint8_t *row, Py_ssize_t width, int16_t *const luma[3], const int32_t *density,
                        int32_t limit, Prefix *prefix)
{
    uint32_t pixels = 0, red = 0, green = 0, blue = 0, total = 0, squares = 0;
    memset(prefix[0], 0, sizeof *prefix);
    for (Py_ssize_t x = 0; x < width; x++) {
        int32_t r = density[row[3 * x]], g = density[row[3 * x + 1]], b = density[row[3 * x + 2]];
        uint32_t tissue = -(uint32_t)(r + g + b > limit);
        pixels -= tissue;
        red += (uint32_t)r & tissue;
        green += (uint32_t)g & tissue;
        blue += (uint32_t)b & tissue;
        if (luma && x > 0 && x < width - 1) {
            int32_t value = luma[0][x] + luma[2][x] + luma[1][x - 1] + luma[1][x + 1] - 4 * luma[1][x];
            total += (uint32_t)value;
            squares += (uint32_t)(value * value);
        }
        uint32_t *next = prefix[x + 1];
        next[PIXELS] = pixels;
        next[RED] = red;
        next[GREEN] = green;
        next[BLUE] = blue;
        next[LAPLACIAN] = total;
        next[SQUARES] = squares;
    }
}

static void add_row(const Prefix *prefix, int start, int inner, Py_ssize_t columns, int64_t *sums)
{
    for (Py_ssize_t column = 0; column < columns; column++, sums += SUMS, prefix += STRIDE) {
        for (int each = PIXELS; each <= BLUE; each++)
            sums[each] += (int32_t)(prefix[SIDE - start][each] - prefix[start][each]);
        for (int each = LAPLACIAN; each <= SQUARES; each++)
            sums[each] += (int32_t)(prefix[SIDE - inner][each] - prefix[inner][each]);
    }
}

static void sum_block(const uint8_t *block, Py_ssize_t rows, Py_ssize_t columns, const int32_t *density, int32_t limit,
                      Prefix *prefix, int16_t *memory, int64_t *sums)
{
    Py_ssize_t width = SIDE + STRIDE * (columns - 1), height = SIDE + STRIDE * (rows - 1);
    int16_t *luma[3] = {memory, memory + width, memory + 2 * width};
    fill_luma(block, width, luma[1]);
    for (Py_ssize_t y = 0; y < height; y++) {
        int edge = y == 0 || y == height - 1;
        if (y < height - 1)
            fill_luma(block + 3 * width * (y + 1), width, luma[2]);
        fill_prefix(block + 3 * width * y, width, edge ? NULL : luma, density, limit, prefix);
        for (Py_ssize_t row = y / STRIDE; row >= 0 && y - STRIDE * row < SIDE; row--) {
            int down = (int)(y - STRIDE * row), start = disc_start(down);
            int inner = down == 0 || down == SIDE - 1 ? SIDE / 2 : start < 1 ? 1 : start;
            if (row < rows)
                add_row(prefix, start, inner, columns, sums + SUMS * columns * row);
        }
        int16_t *first = luma[0];
        luma[0] = luma[1];
        luma[1] = luma[2];
        luma[2] = first;
    }
}

static PyObject *block_sums(PyObject *module, PyObject *arguments)
{
    Py_buffer block, density, out;
    Py_ssize_t rows, columns, width;
    int limit, fits;
    Prefix *prefix = NULL;
    int16_t *luma = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*nny*iw*", &block, &rows, &columns, &density, &limit, &out))
        return NULL;
    fits = rows >= 1 && columns >= 1 && rows <= MAX_PATCHES && columns <= MAX_PATCHES;
    if (!fits)
        PyErr_SetString(PyExc_ValueError, "the block has no patches, or too many");
    width = fits ? SIDE + STRIDE * (columns - 1) : 0;
    fits = fits && has_size(&block, 3 * width * (SIDE + STRIDE * (rows - 1)), "the block") &&
           has_size(&density, 256 * sizeof(int32_t), "the densities") &&
           has_size(&out, rows * columns * SUMS * (Py_ssize_t)sizeof(int64_t), "the result");
    if (fits) {
        prefix = malloc((width + 1) * sizeof *prefix);
        luma = malloc(3 * width * sizeof *luma);
        fits = prefix && luma;
        if (!fits)
            PyErr_NoMemory();
    }
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        memset(out.buf, 0, out.len);
        sum_block(block.buf, rows, columns, density.buf, limit, prefix, luma, out.buf);
        Py_END_ALLOW_THREADS
    }
    free(prefix);
    free(luma);
    PyBuffer_Release(&block);
    PyBuffer_Release(&density);
    PyBuffer_Release(&out);
    if (!fits)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"averaged", averaged, METH_VARARGS,
     "averaged(pixels, width, index, weight, columns, index, weight, rows, out): means of pixels, across and down."},
    {"block_sums", block_sums, METH_VARARGS,
     "block_sums(block, rows, columns, density, limit, out): of each patch the sums that its quality follows from."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernels", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModule_Create(&definition);
}
