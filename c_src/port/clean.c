#include "clean.h"

#include <string.h>

#define REPLACEMENT 0xFFFD

struct span {
    uint32_t first, last;
};

static const struct span unwanted[] = {
    {0x00, 0x1F},     /* controls */
    {0x7F, 0x9F},     /* more of them */
    {0x061C, 0x061C}, /* and from here on marks that turn, hide or break lines */
    {0x115F, 0x1160}, /* fillers, which look like nothing */
    {0x200B, 0x200B}, /* joiners, 200C and 200D, spell words and emoji */
    {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2060, 0x206F}, {0x3164, 0x3164},
    {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xFFFE, 0xFFFF}, {0xE0000, 0xE0FFF}, /* tags */
};

static const struct span wide[] = {
    {0x1100, 0x115E},   {0x2E80, 0x303E},   {0x3041, 0x4DBF},   {0x4E00, 0xA4CF},
    {0xA960, 0xA97C},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},
    {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},   {0x231A, 0x231B},   {0x23E9, 0x23F3},
    {0x25FD, 0x25FE},   {0x2614, 0x2615},   {0x2648, 0x2653},   {0x26A1, 0x26A1},
    {0x26AA, 0x26FD},   {0x2705, 0x2705},   {0x270A, 0x270B},   {0x2728, 0x2728},
    {0x274C, 0x2757},   {0x2795, 0x27BF},   {0x2B1B, 0x2B55},   {0x16FE0, 0x18AFF},
    {0x1B000, 0x1B2FF}, {0x1F000, 0x1FAFF}, {0x20000, 0x3FFFD},
};

#define COUNT(spans) (sizeof(spans) / sizeof(spans)[0])

static bool is_in(const struct span *spans, size_t count, uint32_t character) {
    bool found = false;
    for (size_t i = 0; i < count && !found; i++)
        found = character >= spans[i].first && character <= spans[i].last;
    return found;
}

/* One character, and of how many bytes; U+FFFD of one byte for what is none. */
static uint32_t decode(const char *data, size_t left, size_t *size) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)data;
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    uint32_t character = length == 1 ? at[0] : at[0] & (0xFFU >> (length + 1));
    bool valid = length > 0 && length <= left && at[0] < 0xF5;
    for (size_t i = 1; valid && i < length; i++) {
        valid = (at[i] & 0xC0) == 0x80;
        character = character << 6 | (at[i] & 0x3FU);
    }
    valid = valid && character >= least[length] && character <= 0x10FFFF &&
            !(character >= 0xD800 && character <= 0xDFFF);
    *size = valid ? length : 1;
    return valid ? character : REPLACEMENT;
}

static size_t columns_of(uint32_t character) {
    return is_in(wide, COUNT(wide), character) ? 2 : 1;
}

/* The next character as it is shown; its bytes are copied to `out`, `*size` of the text's used. */
static uint32_t next(const char *data, size_t left, size_t *size, char out[4], size_t *out_size) {
    uint32_t character = decode(data, left, size);
    if (character == '\n' || character == '\r' || character == '\t')
        character = ' ';
    else if (is_in(unwanted, COUNT(unwanted), character))
        character = REPLACEMENT;
    if (character == ' ') {
        out[0] = ' ';
        *out_size = 1;
    } else if (character == REPLACEMENT) {
        memcpy(out, "\xEF\xBF\xBD", 3);
        *out_size = 3;
    } else {
        memcpy(out, data, *size);
        *out_size = *size;
    }
    return character;
}

/* Combining marks count as one although they take no room: a line is never too long for it, and a
 * tower of them is cut. */
char *clean_text(struct ledger_text text, size_t columns, const char *mark, char *out,
                 size_t size) {
    size_t at = 0, width = 0, kept = 0, step, bytes;
    char character[4];
    bool cut = false;
    for (size_t i = 0; i < text.size && !cut; i += step) {
        width += columns_of(next(text.data + i, text.size - i, &step, character, &bytes));
        cut = width > columns || at + bytes + strlen(mark) + 1 > size;
        if (cut)
            break;
        memcpy(out + at, character, bytes);
        at += bytes;
        if (width < columns)
            kept = at; /* the mark has room behind it */
    }
    out[cut ? kept : at] = '\0';
    if (cut)
        memcpy(out + kept, mark, strlen(mark) + 1);
    return out;
}

size_t clean_width(const char *text) {
    size_t width = 0, size, left = strlen(text);
    for (; left > 0; text += size, left -= size)
        width += columns_of(decode(text, left, &size));
    return width;
}
