/* A stand-in for libamdhip64: no AMD GPU exists where these tests run. It keeps device memory, takes gfx950 code objects alone, finds kernels by
   their symbol, checks how a launch passes its arguments, and hands the launch to a function that the test sets. */
#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { INVALID_VALUE = 1, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, NO_BINARY = 209, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };
typedef int (*launch_t)(const void *image, size_t size, const char *kernel, const unsigned *dims, const void *arguments, size_t bytes);
struct module { char *image; size_t size; char kernel[64]; };
static launch_t launcher;
static int devices = 1, mach = 0x4f, initialised, sticky;
static struct { char *at; size_t size; } held[64];

void stand_in(launch_t function, int count, int machine) {
    launcher = function, devices = count, mach = machine, sticky = 0;
    for (int i = 0; i < 64; i++) free(held[i].at), held[i].at = NULL;
}
int stand_in_allocations(void) { int n = 0; for (int i = 0; i < 64; i++) n += held[i].at != NULL; return n; }
static int ready(void) { return !initialised ? INVALID_VALUE : sticky; }
static int inside(const char *at, size_t size) {
    for (int i = 0; i < 64; i++) if (held[i].at && at >= held[i].at && at + size <= held[i].at + held[i].size) return 1;
    return 0;
}

int hipInit(unsigned flags) { initialised = 1; return flags ? INVALID_VALUE : 0; }
int hipGetDeviceCount(int *count) { *count = devices; return devices ? 0 : NO_DEVICE; }
int hipSetDevice(int device) { return device < devices ? ready() : INVALID_DEVICE; }
int hipDeviceGetName(char *name, int size, int device) { strncpy(name, "stand-in, no GPU", size); return device < devices ? 0 : INVALID_DEVICE; }
int hipRuntimeGetVersion(int *version) { *version = 70051831; return 0; }
int hipMalloc(void **at, size_t size) {
    for (int i = 0; i < 64; i++) if (!held[i].at) { held[i].at = *at = malloc(size); held[i].size = size; memset(*at, 0xA5, size); return ready(); }
    return 2;
}
int hipFree(void *at) {
    for (int i = 0; i < 64; i++) if (held[i].at == at) { free(at); held[i].at = NULL; return ready(); }
    return INVALID_VALUE;
}
int hipMemcpy(void *to, const void *from, size_t size, int kind) {
    if (kind != 1 && kind != 2) return 21; /* hipErrorInvalidMemcpyDirection */
    if (!inside(kind == 1 ? to : from, size)) return INVALID_VALUE;
    memcpy(to, from, size);
    return ready();
}
int hipMemset(void *at, int value, size_t size) { if (!inside(at, size)) return INVALID_VALUE; memset(at, value, size); return ready(); }
int hipModuleLoadData(struct module **made, const char *image) {
    const Elf64_Ehdr *head = (const void *)image;
    if (memcmp(image, ELFMAG, SELFMAG) || head->e_machine != 224) return INVALID_IMAGE;
    if ((head->e_flags & 0xff) != (unsigned)mach) return NO_BINARY;
    size_t size = head->e_shoff + head->e_shnum * sizeof(Elf64_Shdr);
    *made = calloc(1, sizeof **made);
    (*made)->image = malloc(size), (*made)->size = size;
    memcpy((*made)->image, image, size);
    return ready();
}
int hipModuleUnload(struct module *module) { free(module->image); free(module); return ready(); }
int hipModuleGetFunction(struct module **function, struct module *module, const char *name) {
    const Elf64_Ehdr *head = (const void *)module->image;
    const Elf64_Shdr *sections = (const void *)(module->image + head->e_shoff);
    for (int at = 0; at < head->e_shnum; at++) {
        if (sections[at].sh_type != SHT_DYNSYM) continue;
        const Elf64_Sym *symbols = (const void *)(module->image + sections[at].sh_offset);
        const char *names = module->image + sections[sections[at].sh_link].sh_offset;
        for (size_t n = 0; n < sections[at].sh_size / sizeof *symbols; n++) {
            const char *found = names + symbols[n].st_name;
            size_t length = strlen(name);
            if (!strncmp(found, name, length) && !strcmp(found + length, ".kd")) { strcpy(module->kernel, name); *function = module; return ready(); }
        }
    }
    return NOT_FOUND;
}
int hipModuleLaunchKernel(struct module *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned lds, void *stream,
                          void **parameters, void **extra) {
    const unsigned dims[] = {gx, gy, gz, bx, by, bz, lds};
    if (stream || parameters || extra[0] != (void *)1 || extra[2] != (void *)2 || extra[4] != (void *)3) return INVALID_VALUE;
    return sticky = launcher(function->image, function->size, function->kernel, dims, extra[1], *(size_t *)extra[3]);
}
int hipDeviceSynchronize(void) { return ready(); }
const char *hipGetErrorName(int code) {
    return code == NO_BINARY ? "hipErrorNoBinaryForGpu" : code == ILLEGAL_ADDRESS ? "hipErrorIllegalAddress" : code == NO_DEVICE ? "hipErrorNoDevice" : "hipErrorOther";
}
