/* The loops over a patch's pixels: what model_zoo/quality.py and model_zoo/turns.py compute with NumPy where this is not
 * built. All arithmetic is on integers, so that both give the same bits on every CPU. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

enum { SIDE = 96, PIXELS = SIDE * SIDE, ROW = SIDE * 3, TAPS = 4, UNIT_BITS = 14 };

static int has_size(const Py_buffer *view, Py_ssize_t size, const char *name)
{
    if (view->len == size)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s has %zd bytes, expected %zd", name, view->len, size);
    return 0;
}

/* Quality */

typedef struct {
    int64_t pixels, density[3], laplacian, squares;
} Sums;

/* The first column of a row that lies in the disc; as many are missing at its end. */
static int disc_start(int y)
{
    int x = 0, down = 2 * y - (SIDE - 1);
    while ((2 * x - (SIDE - 1)) * (2 * x - (SIDE - 1)) + down * down > SIDE * SIDE)
        x++;
    return x;
}

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

static int clipped(int coordinate)
{
    return coordinate < 0 ? 0 : coordinate >= SIDE ? SIDE - 1 : coordinate;
}

static uint8_t rounded(int32_t sum)
{
    int32_t value = (sum + (1 << (UNIT_BITS - 1))) >> UNIT_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* One pixel, from four pixels of each of four rows. */
static inline void weigh(const uint8_t *const rows[TAPS], const int columns[TAPS], const int16_t *weights, uint8_t *out)
{
    int32_t red = 0, green = 0, blue = 0;
#pragma GCC unroll 4
    for (int i = 0; i < TAPS; i++)
#pragma GCC unroll 4
        for (int j = 0; j < TAPS; j++) {
            int32_t weight = weights[TAPS * i + j];
            const uint8_t *p = rows[i] + 3 * columns[j];
            red += weight * p[0];
            green += weight * p[1];
            blue += weight * p[2];
        }
    out[0] = rounded(red);
    out[1] = rounded(green);
    out[2] = rounded(blue);
}

static void interpolate(const uint8_t *patch, const int16_t *places, const int16_t *weights, uint8_t *out)
{
    for (int i = 0; i < PIXELS; i++, weights += TAPS * TAPS, out += 3) {
        int y = places[2 * i], x = places[2 * i + 1];
        if (y >= 0 && x >= 0 && y <= SIDE - TAPS && x <= SIDE - TAPS) {
            const uint8_t *p = patch + ROW * y + 3 * x;
            const uint8_t *const rows[TAPS] = {p, p + ROW, p + 2 * ROW, p + 3 * ROW};
            const int columns[TAPS] = {0, 1, 2, 3};
            weigh(rows, columns, weights, out);
        } else {
            const uint8_t *rows[TAPS];
            int columns[TAPS];
            for (int k = 0; k < TAPS; k++) {
                rows[k] = patch + ROW * clipped(y + k);
                columns[k] = clipped(x + k);
            }
            weigh(rows, columns, weights, out);
        }
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
