/* Runs guest.c natively, under sanitizers. It reads requests (u32 kind, u32 size,
 * bytes) and answers each with u32 size and bytes; 4294967295 says that the call
 * failed. What the guest gets lies in memory of exactly its size. */
#include "guest.c"

#include <stdio.h>
#include <string.h>

static void logged(int severity, const char *line, size_t size) { fprintf(stderr, "%d %.*s\n", severity, (int)size, line); }
static int32_t define(const char *name, size_t size, int32_t kind) { return (void)name, (int32_t)size + kind; }
static void random_bytes(void *to, size_t size) { memset(to, 7, size); }

int main(void) {
    uint32_t head[2];
    wm_native.log = logged;
    wm_native.metric_define = define;
    wm_native.random = random_bytes;
    while (fread(head, sizeof head, 1, stdin) == 1) {
        char *data = (char *)malloc(head[1] > 0 ? head[1] : 1);
        wm_str in, answer = {NULL, 0};
        if (!data || (head[1] > 0 && fread(data, head[1], 1, stdin) != 1)) return 2;
        in.data = head[1] > 0 ? data : NULL, in.size = head[1];
        switch (head[0]) {
        case 0: if (wm_guest_open(in, configure)) answer = wm_s("open"); break;
        case 1: answer = wm_guest_process(in, configure, handle); break;
        case 2: answer = wm_guest_close(bye); break;
        case 3: /* an address of the buffer as the host asks for it */
            if (wm_guest_buffer((int32_t)head[1])) memset(wm_self.input.data, 1, head[1]), answer = wm_s("buffer");
            break;
        default: return 2;
        }
        uint32_t size = answer.data ? (uint32_t)answer.size : UINT32_MAX;
        fwrite(&size, sizeof size, 1, stdout);
        if (answer.data && answer.size > 0) fwrite(answer.data, answer.size, 1, stdout);
        fflush(stdout);
        free(data);
    }
    return 0;
}
