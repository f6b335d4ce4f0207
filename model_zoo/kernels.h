/* What the loops of model_zoo/_kernels.c and slides/_kernels.c share. */

#ifndef KERNELS_H
#define KERNELS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

enum { SIDE = 96 };

/* Whether an argument has this many bytes; sets the error if not. */
static int has_size(const Py_buffer *view, Py_ssize_t size, const char *name)
{
    if (view->len == size)
        return 1;
    PyErr_Format(PyExc_ValueError, "%s has %zd bytes, expected %zd", name, view->len, size);
    return 0;
}

/* The first column of a row that lies in the disc; as many are missing at its end. */
static int disc_start(int y)
{
    int x = 0, down = 2 * y - (SIDE - 1);
    while ((2 * x - (SIDE - 1)) * (2 * x - (SIDE - 1)) + down * down > SIDE * SIDE)
        x++;
    return x;
}

#endif
