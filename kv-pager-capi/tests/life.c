/* An engine in C: a whole life with a pager that owns the device slots, then one with an engine that does.
 *
 * A token's K and V are made of all tokens up to it, and are read back through the tables whenever they must be there: a wrong
 * byte fails the program. The arguments are a directory for the file tier, and a profile of costs. */
#include "kv_pager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS_PER_BLOCK = 4, HEAD_DIM = 8, PLANES = 2, ROW_BYTES = HEAD_DIM * 4 };
enum { DEVICE_SLOTS = 8, HOST_SLOTS = 8, FILE_SLOTS = 64, PROMPT = 17 };
static const uint64_t SECOND_NS = 1000000000u;

#define CHECK(condition)                                                                                      \
    do {                                                                                                      \
        if (!(condition)) {                                                                                   \
            char text[512] = "";                                                                              \
            kvp_last_error_message(text, sizeof text);                                                        \
            fprintf(stderr, "life.c:%d: not so: %s\nlast error: %s\n", __LINE__, #condition, text);           \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)
#define OK(call) CHECK((call) == KVP_STATUS_OK)
#define FAILS(call, status, code) CHECK((call) == (status) && kvp_last_error_code() == (code))

/* What every value of K or V of token `at` is. */
static uint32_t value_of(const uint32_t *tokens, size_t at, size_t plane) {
    uint32_t hash = 2166136261u + (uint32_t)plane;
    for (size_t i = 0; i <= at; i++) {
        hash = (hash ^ tokens[i]) * 16777619u;
    }
    return hash;
}

static void fill_row(uint8_t *row, const uint32_t *tokens, size_t at, size_t plane) {
    uint32_t value = value_of(tokens, at, plane);
    for (size_t i = 0; i < HEAD_DIM; i++) {
        memcpy(row + 4 * i, &value, 4);
    }
}

/* The prompt of a letter: no two letters share a block. */
static void fill_prompt(uint32_t *tokens, uint32_t letter) {
    for (uint32_t i = 0; i < PROMPT; i++) {
        tokens[i] = letter * 1000 + i;
    }
}

/* A policy: in which order tiers give up blocks, and what is loaded. */
typedef struct Arm {
    KvpKeeping keeping;
    KvpLoading loading;
    uint64_t write_bytes_per_day;
} Arm;

static const Arm DEFAULT_ARM = {KVP_KEEPING_COST_AWARE, KVP_LOADING_ADAPTIVE, 0};

static KvpPager *open_pager(const char *directory, KvpDeviceOwner owner, KvpDeviceLayout layout, Arm arm) {
    static const KvpGroup group = {KVP_ATTENTION_FULL, 0, 0, 1, KVP_ENTRY_KEY_VALUE, 1, HEAD_DIM, KVP_D_TYPE_F32};
    static const uint32_t device = DEVICE_SLOTS, host = HOST_SLOTS, file = FILE_SLOTS;
    KvpOptions options;
    OK(kvp_options_init(&options, KVP_ABI_VERSION, sizeof options));
    options.groups = &group;
    options.groups_len = 1;
    options.tokens_per_block = TOKENS_PER_BLOCK;
    options.device_owner = owner;
    options.device_layout = layout;
    options.device_slots = &device;
    options.host_slots = &host;
    if (directory) {
        options.file_slots = &file;
        options.file_directory = directory;
        options.file_directory_len = strlen(directory);
    }
    options.sequences_max = 8;
    options.sequence_tokens_max = 64;
    options.keeping = arm.keeping;
    options.loading = arm.loading;
    options.write_bytes_per_day = arm.write_bytes_per_day;
    options.has_shadows = 1;
    options.fingerprint.low = 7;
    KvpPager *pager = NULL;
    OK(kvp_pager_open(&options, &pager));
    CHECK(pager);
    return pager;
}

static void compute(KvpPager *pager, const KvpSequence *sequence, const uint32_t *tokens, KvpStep step) {
    KvpDeviceMemory memory;
    const uint32_t *table;
    size_t blocks;
    OK(kvp_device_memory(pager, 0, &memory));
    CHECK(memory.planes == PLANES && memory.slots == DEVICE_SLOTS && memory.plane_bytes == TOKENS_PER_BLOCK * ROW_BYTES);
    OK(kvp_sequence_table(sequence, 0, &table, &blocks));
    for (size_t at = step.first; at < step.end; at++) {
        CHECK(at / TOKENS_PER_BLOCK < blocks);
        uint32_t slot = table[at / TOKENS_PER_BLOCK];
        CHECK(slot < memory.slots);
        for (size_t plane = 0; plane < memory.planes; plane++) {
            uint8_t *start = memory.base + plane * memory.plane_stride + slot * memory.slot_stride;
            fill_row(start + at % TOKENS_PER_BLOCK * ROW_BYTES, tokens, at, plane);
        }
    }
}

static void verify(KvpPager *pager, const KvpSequence *sequence, const uint32_t *tokens, size_t end) {
    const uint32_t *table;
    const uint64_t *fences;
    size_t blocks, fences_len;
    OK(kvp_sequence_waits(sequence, &fences, &fences_len));
    CHECK(fences_len == 0);
    OK(kvp_sequence_table(sequence, 0, &table, &blocks));
    for (size_t at = 0; at < end; at++) {
        for (size_t plane = 0; plane < PLANES; plane++) {
            uint8_t found[ROW_BYTES], expected[ROW_BYTES];
            size_t offset = at % TOKENS_PER_BLOCK * ROW_BYTES;
            OK(kvp_slot_read(pager, 0, table[at / TOKENS_PER_BLOCK], plane, offset, found, sizeof found));
            fill_row(expected, tokens, at, plane);
            CHECK(memcmp(found, expected, sizeof found) == 0);
        }
    }
}

/* Serves a sequence until everything is there. */
static void serve(KvpPager *pager, const KvpSequence *sequence, const uint32_t *tokens) {
    for (int round = 0; round < 100000; round++) {
        KvpStep step;
        uint64_t seen;
        OK(kvp_pager_progress(pager, &seen));
        KvpStatus status = kvp_sequence_next_step(sequence, 5, &step);
        if (status == KVP_STATUS_RETRY) {
            OK(kvp_pager_wait(pager, seen, SECOND_NS, NULL));
            continue;
        }
        CHECK(status == KVP_STATUS_OK);
        if (step.kind == KVP_STEP_KIND_READY) {
            size_t len;
            OK(kvp_sequence_len(sequence, &len));
            verify(pager, sequence, tokens, len);
            return;
        }
        if (step.kind == KVP_STEP_KIND_WAIT) {
            OK(kvp_sequence_wait(sequence, SECOND_NS, NULL));
            continue;
        }
        CHECK(step.first < step.end && step.end - step.first <= 5);
        verify(pager, sequence, tokens, step.first);
        compute(pager, sequence, tokens, step);
        OK(kvp_sequence_commit(sequence, step.first, step.end, KVP_FENCE_OVER));
    }
    CHECK(!"a sequence is served in the end");
}

static KvpRequest request_for(const uint32_t *tokens, size_t len, uint64_t salt) {
    KvpRequest request = {0};
    request.tokens = tokens;
    request.tokens_len = len;
    request.salt = salt;
    return request;
}

static KvpPrompt *prepare(KvpPager *pager, const uint32_t *tokens, size_t len, uint64_t salt) {
    KvpRequest request = request_for(tokens, len, salt);
    KvpPrompt *prompt = NULL;
    OK(kvp_prompt_prepare(pager, &request, &prompt));
    return prompt;
}

/* Opens, waiting for room as long as it takes. */
static KvpSequence *open_request(KvpPager *pager, const KvpRequest *request) {
    KvpPrompt *prompt = NULL;
    KvpSequence *sequence = NULL;
    OK(kvp_prompt_prepare(pager, request, &prompt));
    for (int round = 0; !sequence && round < 100000; round++) {
        uint64_t seen;
        OK(kvp_pager_progress(pager, &seen));
        KvpStatus status = kvp_sequence_open(pager, prompt, &sequence);
        CHECK(status == KVP_STATUS_OK || status == KVP_STATUS_RETRY);
        if (status == KVP_STATUS_RETRY) {
            OK(kvp_pager_wait(pager, seen, SECOND_NS, NULL));
        }
    }
    CHECK(sequence);
    kvp_prompt_free(prompt);
    return sequence;
}

static KvpSequence *open_sequence(KvpPager *pager, const uint32_t *tokens, size_t len, uint64_t salt) {
    KvpRequest request = request_for(tokens, len, salt);
    return open_request(pager, &request);
}

static KvpReport serve_request(KvpPager *pager, const KvpRequest *request) {
    KvpReport report;
    KvpSequence *sequence = open_request(pager, request);
    serve(pager, sequence, request->tokens);
    OK(kvp_sequence_report(sequence, &report));
    OK(kvp_sequence_close(sequence, KVP_FENCE_OVER));
    uint64_t sum = report.hit_tokens[0] + report.hit_tokens[1] + report.hit_tokens[2] + report.computed_tokens;
    CHECK(sum == PROMPT);
    return report;
}

static KvpReport serve_letter(KvpPager *pager, uint32_t letter, uint64_t salt) {
    uint32_t tokens[PROMPT];
    fill_prompt(tokens, letter);
    KvpRequest request = request_for(tokens, PROMPT, salt);
    return serve_request(pager, &request);
}

static void refuses_what_is_wrong(KvpPager *pager) {
    uint32_t tokens[100] = {0};
    KvpPrompt *prompt = NULL;
    KvpSequence *sequence = NULL;
    KvpStep step;
    uint8_t byte = 0;
    FAILS(kvp_options_init(NULL, KVP_ABI_VERSION, sizeof(KvpOptions)), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    KvpOptions options;
    memset(&options, 0x5a, sizeof options);
    FAILS(kvp_options_init(&options, KVP_ABI_VERSION + 1, sizeof options), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_options_init(&options, KVP_ABI_VERSION, 8), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    CHECK(options.abi_version == 0x5a5a5a5a);
    KvpPager *other = NULL;
    FAILS(kvp_pager_open(&options, &other), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_pager_open(NULL, &other), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    OK(kvp_options_init(&options, KVP_ABI_VERSION, sizeof options));
    FAILS(kvp_pager_open(&options, NULL), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_pager_open(&options, &other), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
    KvpGroup group = {77, 0, 0, 1, KVP_ENTRY_KEY_VALUE, 1, HEAD_DIM, KVP_D_TYPE_F32};
    options.groups = &group;
    options.groups_len = 1;
    FAILS(kvp_pager_open(&options, &other), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    group.attention = KVP_ATTENTION_FULL;
    FAILS(kvp_pager_open(&options, &other), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    uint32_t none = 0;
    options.device_slots = &none;
    options.keeping = 9;
    FAILS(kvp_pager_open(&options, &other), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    options.keeping = KVP_KEEPING_LRU;
    options.tenants_max = 70000;
    FAILS(kvp_pager_open(&options, &other), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
    options.tenants_max = 255;
    FAILS(kvp_pager_open(&options, &other), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
    CHECK(!other);

    KvpRequest request = request_for(tokens, 1, 0);
    FAILS(kvp_prompt_prepare(NULL, &request, &prompt), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_prompt_prepare(pager, NULL, &prompt), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_prompt_prepare(pager, &request, NULL), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    request.priority = 7;
    FAILS(kvp_prompt_prepare(pager, &request, &prompt), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    request = request_for(NULL, 1, 0);
    FAILS(kvp_prompt_prepare(pager, &request, &prompt), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    request = request_for(tokens, SIZE_MAX, 0);
    FAILS(kvp_prompt_prepare(pager, &request, &prompt), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    prompt = prepare(pager, tokens, 100, 0);
    FAILS(kvp_sequence_open(pager, prompt, &sequence), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_SEQUENCE_TOO_LONG);
    FAILS(kvp_sequence_open(pager, NULL, &sequence), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    size_t len = 0;
    KvpPlan plan;
    FAILS(kvp_plan(pager, prompt, 0, NULL, &plan), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
    FAILS(kvp_prompt_names(prompt, NULL, 0, &len), KVP_STATUS_TOO_SMALL, KVP_ERROR_CODE_TOO_SMALL);
    CHECK(len == 25);
    KvpU128 names[25];
    OK(kvp_prompt_names(prompt, names, 25, &len));
    CHECK(names[0].low != names[1].low);
    kvp_prompt_free(prompt);
    kvp_prompt_free(NULL);

    sequence = open_sequence(pager, tokens, 8, 0);
    FAILS(kvp_sequence_commit(sequence, 0, 4, KVP_FENCE_OVER), KVP_STATUS_BUG, KVP_ERROR_CODE_MISUSE);
    FAILS(kvp_sequence_commit(sequence, 4, 0, KVP_FENCE_OVER), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    OK(kvp_sequence_next_step(sequence, 8, &step));
    CHECK(step.kind == KVP_STEP_KIND_COMPUTE && step.first == 0 && step.end == 8);
    FAILS(kvp_sequence_commit(sequence, 4, 8, KVP_FENCE_OVER), KVP_STATUS_BUG, KVP_ERROR_CODE_MISUSE);
    const uint32_t *table;
    FAILS(kvp_sequence_table(sequence, 1, &table, &len), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_sequence_next_step(NULL, 8, &step), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_slot_read(pager, 0, DEVICE_SLOTS, 0, 0, &byte, 1), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_slot_read(pager, 0, 0, PLANES, 0, &byte, 1), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_slot_write(pager, 0, 0, 0, SIZE_MAX, &byte, 1), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_slot_write(pager, 0, 0, 0, 0, NULL, 1), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    KvpOccupancy occupancy;
    FAILS(kvp_occupancy(pager, 3, 0, &occupancy), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);

    /* All slots are held: 2 here, 6 there. */
    for (uint32_t i = 0; i < 24; i++) {
        tokens[i] = 500 + i;
    }
    KvpSequence *second = open_sequence(pager, tokens, 24, 0), *third = NULL;
    prompt = prepare(pager, tokens, 24, 99);
    FAILS(kvp_sequence_open(pager, prompt, &third), KVP_STATUS_RETRY, KVP_ERROR_CODE_TIER_FULL);
    CHECK(!third);
    char text[24], whole[200];
    size_t message = kvp_last_error_message(text, sizeof text);
    CHECK(message > sizeof text && strlen(text) == sizeof text - 1 && strncmp(text, "tier device is full", 19) == 0);
    CHECK(kvp_last_error_message(whole, sizeof whole) == message && strlen(whole) == message);
    CHECK(kvp_last_error_message(NULL, 0) == message);
    OK(kvp_sequence_drop(second));
    OK(kvp_sequence_drop(sequence));
    OK(kvp_sequence_drop(NULL));
    OK(kvp_sequence_close(NULL, KVP_FENCE_OVER));
    kvp_prompt_free(prompt);
    uint64_t erased;
    OK(kvp_invalidate_all(pager, &erased));
}

static void branches(KvpPager *pager) {
    uint32_t tokens[PROMPT + 8], other[PROMPT + 8];
    size_t len;
    uint32_t tier;
    fill_prompt(tokens, 1);
    KvpSequence *sequence = open_sequence(pager, tokens, PROMPT, 0);
    serve(pager, sequence, tokens);
    /* The block in the middle is shared, and copied before it is written. */
    KvpSequence *child = NULL;
    OK(kvp_sequence_fork(sequence, &child));
    memcpy(other, tokens, sizeof tokens);
    for (uint32_t i = 0; i < 2; i++) {
        tokens[PROMPT + i] = 70 + i;
        other[PROMPT + i] = 80 + i;
    }
    OK(kvp_sequence_append(sequence, tokens + PROMPT, 2));
    OK(kvp_sequence_append(child, other + PROMPT, 2));
    serve(pager, sequence, tokens);
    serve(pager, child, other);
    verify(pager, sequence, tokens, PROMPT + 2);
    /* Rejected drafts. */
    OK(kvp_sequence_truncate(sequence, PROMPT + 1, KVP_FENCE_OVER));
    OK(kvp_sequence_len(sequence, &len));
    CHECK(len == PROMPT + 1);
    serve(pager, sequence, tokens);
    OK(kvp_sequence_block_source(sequence, 0, &tier));
    CHECK(tier == UINT32_MAX);
    OK(kvp_sequence_close(sequence, KVP_FENCE_OVER));
    OK(kvp_sequence_drop(child));
}

/* A queued request is brought nearer, a prompt is held under pressure, and new weights find nothing. */
static void keeps(KvpPager *pager) {
    uint32_t tokens[PROMPT];
    KvpPrompt *prompt = NULL;
    KvpKeeper *prefetch = NULL, *hold = NULL;
    KvpKept kept;
    size_t released;
    uint64_t epoch, next;
    fill_prompt(tokens, 1);
    prompt = prepare(pager, tokens, PROMPT, 0);
    FAILS(kvp_hold(pager, prompt, 9, &hold), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_hold(pager, prompt, KVP_TIER_FILE, &hold), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
    FAILS(kvp_prefetch(pager, NULL, &prefetch), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    OK(kvp_prefetch(pager, prompt, &prefetch));
    OK(kvp_keeper_kept(prefetch, &kept));
    CHECK(kept.on_device + kept.in_host <= kept.wanted);
    OK(kvp_keeper_free(prefetch));
    OK(kvp_hold(pager, prompt, KVP_TIER_HOST, &hold));
    OK(kvp_keeper_kept(hold, &kept));
    CHECK(kept.wanted == PROMPT / TOKENS_PER_BLOCK);
    OK(kvp_release_holds(pager, 0, &released));
    CHECK(released == 1);
    OK(kvp_keeper_free(hold));
    OK(kvp_keeper_free(NULL));
    /* Without a prompt: the front of what a salt comes to have. */
    KvpAllowance most = {KVP_ALLOWANCE_KIND_SLOTS, 0, 2};
    FAILS(kvp_hold_salt(pager, 3, KVP_TIER_FILE, most, &hold), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
    OK(kvp_hold_salt(pager, 3, KVP_TIER_HOST, most, &hold));
    serve_letter(pager, 1, 3);
    for (uint32_t letter = 2; letter <= 9; letter++) {
        serve_letter(pager, letter, 0);
    }
    OK(kvp_keeper_kept(hold, &kept));
    CHECK(kept.wanted == 2 && kept.in_host == 2);
    KvpReport held = serve_letter(pager, 1, 3);
    CHECK(held.hit_tokens[KVP_TIER_DEVICE] + held.hit_tokens[KVP_TIER_HOST] >= 2 * TOKENS_PER_BLOCK);
    OK(kvp_release_holds(pager, 3, &released));
    CHECK(released == 1);
    OK(kvp_keeper_free(hold));
    most.kind = 9;
    FAILS(kvp_hold_salt(pager, 3, KVP_TIER_HOST, most, &hold), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    serve_letter(pager, 1, 0);
    OK(kvp_epoch(pager, &epoch));
    OK(kvp_advance_epoch(pager, &next));
    CHECK(next == epoch + 1);
    CHECK(serve_letter(pager, 1, 0).computed_tokens == PROMPT);
    kvp_prompt_free(prompt);
}

/* What `salt` has, or NULL. */
static const KvpTenant *tenant_of(KvpPager *pager, KvpTenant *tenants, size_t capacity, uint64_t salt) {
    size_t len;
    OK(kvp_tenants(pager, tenants, capacity, &len));
    for (size_t i = 0; i < len; i++) {
        if (tenants[i].has_salt && tenants[i].salt == salt) {
            return &tenants[i];
        }
    }
    return NULL;
}

/* A salt is kept to its quota, and blocks expire that only requests with a time to live have used. */
static void tenants(void) {
    KvpPager *pager = open_pager(NULL, KVP_DEVICE_OWNER_MANAGED, KVP_DEVICE_LAYOUT_BLOCK_MAJOR, DEFAULT_ARM);
    KvpTenant table[8];
    size_t len;
    KvpQuota quota = {{KVP_ALLOWANCE_KIND_SLOTS, 0, 4}, {KVP_ALLOWANCE_KIND_SLOTS, 0, 4}, {0, 0, 0}};
    FAILS(kvp_set_quota(pager, 11, NULL), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    quota.file.kind = 9;
    FAILS(kvp_set_quota(pager, 11, &quota), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    quota.file.kind = KVP_ALLOWANCE_KIND_UNLIMITED;
    OK(kvp_set_quota(pager, 11, &quota));
    for (uint32_t letter = 1; letter <= 4; letter++) {
        serve_letter(pager, letter, 11);
    }
    serve_letter(pager, 5, 12);
    serve_letter(pager, 6, 12);
    const KvpTenant *bounded = tenant_of(pager, table, 8, 11);
    CHECK(bounded && bounded->slots[KVP_TIER_DEVICE] <= 4 && bounded->quota_slots[KVP_TIER_DEVICE] == 4);
    CHECK(bounded->bytes[KVP_TIER_DEVICE] == bounded->slots[KVP_TIER_DEVICE] * TOKENS_PER_BLOCK * PLANES * ROW_BYTES);
    FAILS(kvp_tenants(pager, table, 0, &len), KVP_STATUS_TOO_SMALL, KVP_ERROR_CODE_TOO_SMALL);
    CHECK(len == 2);
    /* Larger than its quota while nobody else need make room: the four blocks of the other are in use. */
    uint32_t tokens[24];
    for (uint32_t i = 0; i < 24; i++) {
        tokens[i] = 700 + i;
    }
    KvpSequence *other = open_sequence(pager, tokens, 16, 12), *refused = NULL;
    KvpPrompt *prompt = prepare(pager, tokens, 24, 11);
    KvpStatus status = KVP_STATUS_RETRY;
    for (int round = 0; status == KVP_STATUS_RETRY && round < 100000; round++) {
        uint64_t seen;
        OK(kvp_pager_progress(pager, &seen));
        status = kvp_sequence_open(pager, prompt, &refused);
        if (status == KVP_STATUS_RETRY) {
            OK(kvp_pager_wait(pager, seen, SECOND_NS, NULL));
        }
    }
    CHECK(status == KVP_STATUS_CONFIGURATION && kvp_last_error_code() == KVP_ERROR_CODE_OVER_QUOTA && !refused);
    kvp_prompt_free(prompt);
    OK(kvp_sequence_drop(other));
    OK(kvp_clear_quota(pager, 11));
    const KvpTenant *free_again = tenant_of(pager, table, 8, 11);
    CHECK(!free_again || free_again->quota_slots[KVP_TIER_DEVICE] == UINT64_MAX);

    fill_prompt(tokens, 9);
    KvpRequest request = request_for(tokens, PROMPT, 13);
    request.priority = KVP_PRIORITY_HIGH;
    request.time_to_live_ns = 1;
    request.deadline_ns = SECOND_NS;
    request.waiting = 1;
    CHECK(serve_request(pager, &request).computed_tokens == PROMPT);
    OK(kvp_pager_poll(pager));
    CHECK(serve_request(pager, &request).computed_tokens == PROMPT);
    OK(kvp_pager_close(pager));
}

/* Serves ten letters twice; says how many tokens came from below the device. */
static uint64_t serve_twice(KvpPager *pager) {
    uint64_t loaded = 0;
    for (uint32_t served = 0; served < 20; served++) {
        KvpReport report = serve_letter(pager, 1 + served % 10, 0);
        loaded += report.hit_tokens[KVP_TIER_HOST] + report.hit_tokens[KVP_TIER_FILE];
    }
    return loaded;
}

/* What was learnt is a profile as well, and is taken as one. */
static void check_learnt(KvpPager *pager, const char *profile, size_t profile_len) {
    char learnt[1 << 16];
    size_t len;
    FAILS(kvp_learnt_profile(pager, profile, profile_len, learnt, 1, &len), KVP_STATUS_TOO_SMALL, KVP_ERROR_CODE_TOO_SMALL);
    CHECK(len > 1 && len < sizeof learnt);
    OK(kvp_learnt_profile(pager, profile, profile_len, learnt, sizeof learnt, &len));
    CHECK(len < sizeof learnt && learnt[0] == '{');
    OK(kvp_set_costs(pager, learnt, len, 1, 5));
}

/* The text of a profile, which is what `kv-pager measure --out` writes. Returns its length. */
static size_t read_profile(const char *profile, char *text, size_t capacity) {
    FILE *file = fopen(profile, "rb");
    CHECK(file);
    size_t len = fread(text, 1, capacity, file);
    fclose(file);
    CHECK(len > 0 && len < capacity);
    return len;
}

/* Every policy serves the same bytes; costs make plans. */
static void policies(const char *directory, const char *profile) {
    static const KvpKeeping keepings[] = {KVP_KEEPING_COST_AWARE, KVP_KEEPING_LRU, KVP_KEEPING_SLRU, KVP_KEEPING_ARC,
                                          KVP_KEEPING_S3_FIFO};
    static const KvpLoading loadings[] = {KVP_LOADING_ADAPTIVE, KVP_LOADING_ALWAYS_LOAD, KVP_LOADING_ALWAYS_RECOMPUTE};
    char text[1 << 16], own[1100];
    size_t len = read_profile(profile, text, sizeof text);
    for (size_t keeping = 0; keeping < 5; keeping++) {
        for (size_t loading = 0; loading < 3; loading++) {
            Arm arm = {keepings[keeping], loadings[loading], 0};
            snprintf(own, sizeof own, "%s/%u-%u", directory, (unsigned)keeping, (unsigned)loading);
            KvpPager *pager = open_pager(own, KVP_DEVICE_OWNER_MANAGED, KVP_DEVICE_LAYOUT_BLOCK_MAJOR, arm);
            /* Costs say that so small a block is computed sooner than it is loaded: until they are known all are loaded, or none. */
            uint64_t loaded = serve_twice(pager);
            CHECK((loaded > 0) == (arm.loading != KVP_LOADING_ALWAYS_RECOMPUTE));
            size_t none;
            FAILS(kvp_learnt_profile(pager, text, len, NULL, 0, &none), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
            FAILS(kvp_set_costs(pager, text, len / 2, 1, 5), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
            FAILS(kvp_set_costs(pager, text, len, 2, 5), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
            FAILS(kvp_set_costs(pager, NULL, len, 1, 5), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
            OK(kvp_set_costs(pager, text, len, 1, 5));
            loaded = serve_twice(pager);
            CHECK(loaded == 0 || arm.loading != KVP_LOADING_ALWAYS_RECOMPUTE);
            check_learnt(pager, text, len);
            uint32_t tokens[PROMPT];
            fill_prompt(tokens, 1);
            KvpSequence *sequence = open_sequence(pager, tokens, PROMPT, 0);
            OK(kvp_sequence_observe(sequence, 0, 5, 1000));
            FAILS(kvp_sequence_observe(sequence, 5, 5, 1000), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
            OK(kvp_sequence_drop(sequence));
            OK(kvp_pager_close(pager));
        }
    }
}

static void managed(const char *directory, KvpDeviceLayout layout) {
    KvpPager *pager = open_pager(directory, KVP_DEVICE_OWNER_MANAGED, layout, DEFAULT_ARM);
    refuses_what_is_wrong(pager);
    branches(pager);
    uint32_t tokens[PROMPT];
    size_t matched, count, lanes_len;
    fill_prompt(tokens, 1);
    KvpSequence *again = open_sequence(pager, tokens, PROMPT, 0);
    OK(kvp_sequence_matched_tokens(again, &matched));
    CHECK(matched == PROMPT - 1);
    OK(kvp_sequence_close(again, KVP_FENCE_OVER));
    KvpReport report = serve_letter(pager, 1, 0);
    CHECK(report.hit_tokens[KVP_TIER_DEVICE] == PROMPT - 1 && report.computed_tokens == 1);
    CHECK(serve_letter(pager, 1, 5).computed_tokens == PROMPT);
    /* More than the device and the host hold: what comes back came from below. */
    uint64_t host = 0, file = 0;
    for (int round = 0; round < 3; round++) {
        for (uint32_t letter = 1; letter <= 10; letter++) {
            report = serve_letter(pager, letter, 0);
            host += report.hit_tokens[KVP_TIER_HOST];
            file += report.hit_tokens[KVP_TIER_FILE];
        }
    }
    CHECK(host + file > 0);
    KvpStats stats;
    KvpLaneStats lanes[8];
    OK(kvp_stats(pager, &stats));
    CHECK(stats.evictions[KVP_TIER_DEVICE] > 0 && stats.damaged == 0);
    OK(kvp_lane_stats(pager, lanes, 8, &lanes_len));
    CHECK(lanes_len == 5);
    FAILS(kvp_lane_stats(pager, lanes, 1, &lanes_len), KVP_STATUS_TOO_SMALL, KVP_ERROR_CODE_TOO_SMALL);
    /* Five policies in each of three tiers as it is, and one with twice the memory. */
    KvpShadow shadows[18];
    size_t shadows_len;
    FAILS(kvp_shadows(pager, shadows, 17, &shadows_len), KVP_STATUS_TOO_SMALL, KVP_ERROR_CODE_TOO_SMALL);
    CHECK(shadows_len == 18);
    OK(kvp_shadows(pager, shadows, 18, &shadows_len));
    for (size_t at = 0; at < shadows_len; at++) {
        const KvpShadow *shadow = &shadows[at];
        CHECK(shadow->tier == at / 6 && shadow->keeping <= KVP_KEEPING_S3_FIFO && shadow->references > 0);
        CHECK(shadow->prefix_hits <= shadow->resident_hits && shadow->resident_hits <= shadow->references);
        CHECK(shadow->capacity_blocks == shadows[at / 6 * 6].capacity_blocks * (at % 6 == 5 ? 2 : 1));
    }
    CHECK(shadows[17].prefix_hits > 0);
    uint64_t moved = 0;
    for (size_t lane = 0; lane < 5; lane++) {
        moved += lanes[lane].moves;
    }
    CHECK(moved > 0);
    /* Events, a few at a time: numbered without a gap, and nothing leaves where it was not. */
    uint64_t next = 0, first, moved_on = 0;
    int64_t stored = 0;
    do {
        KvpEvent events[3];
        OK(kvp_drain_events(pager, events, 3, &count, &first));
        CHECK(first == next);
        next += count;
        for (size_t i = 0; i < count; i++) {
            stored += events[i].kind == KVP_EVENT_KIND_STORED;
            stored -= events[i].kind == KVP_EVENT_KIND_REMOVED;
            CHECK(events[i].kind != KVP_EVENT_KIND_OTHER);
            if (events[i].kind == KVP_EVENT_KIND_MOVED) {
                CHECK(events[i].source < events[i].tier && events[i].tier <= KVP_TIER_FILE && !events[i].has_parent);
                CHECK(events[i].name.low != 0 || events[i].name.high != 0);
                stored--;
                moved_on++;
            }
        }
    } while (count == 3);
    CHECK(stored > 0 && moved_on > 0);
    /* Nothing is held (I7). */
    bool is_busy = true;
    for (int round = 0; is_busy && round < 100000; round++) {
        uint64_t seen;
        OK(kvp_pager_progress(pager, &seen));
        OK(kvp_pager_poll(pager));
        OK(kvp_pager_is_busy(pager, &is_busy));
        if (is_busy) {
            OK(kvp_pager_wait(pager, seen, SECOND_NS, NULL));
        }
    }
    KvpOccupancy occupancy;
    OK(kvp_occupancy(pager, KVP_TIER_DEVICE, 0, &occupancy));
    CHECK(occupancy.free + occupancy.resident == DEVICE_SLOTS);
    KvpWrittenOut written;
    OK(kvp_write_out(pager, 60 * SECOND_NS, &written));
    CHECK(written.is_durable);
    OK(kvp_pager_close(pager));

    /* Another process might be here: what the file has is found. */
    pager = open_pager(directory, KVP_DEVICE_OWNER_MANAGED, layout, DEFAULT_ARM);
    OK(kvp_stats(pager, &stats));
    CHECK(stats.recovered > 0);
    file = 0;
    for (uint32_t letter = 1; letter <= 10; letter++) {
        file += serve_letter(pager, letter, 0).hit_tokens[KVP_TIER_FILE];
    }
    CHECK(file > 0);
    uint64_t erased;
    OK(kvp_invalidate(pager, 0, &erased));
    CHECK(erased > 0);
    CHECK(serve_letter(pager, 1, 0).computed_tokens == PROMPT);
    keeps(pager);
    /* A sequence keeps what it needs when the pager goes first. */
    again = open_sequence(pager, tokens, PROMPT, 0);
    OK(kvp_pager_close(pager));
    OK(kvp_sequence_close(again, KVP_FENCE_OVER));
}

static void settle(const KvpDeliveries *deliveries, uint32_t *outcomes, size_t count) {
    size_t len;
    for (int round = 0; round < 100000; round++) {
        bool is_over = true;
        OK(kvp_deliveries_poll(deliveries, outcomes, count, &len));
        CHECK(len == count);
        for (size_t i = 0; i < count; i++) {
            is_over = is_over && outcomes[i] != KVP_DELIVERY_UNDER_WAY;
        }
        if (is_over) {
            return;
        }
        OK(kvp_deliveries_wait(deliveries, SECOND_NS, NULL));
    }
    CHECK(!"deliveries end");
}

/* What to onboard of a prompt of whose three blocks all are in the host. */
static void plans(KvpPager *pager, const KvpPrompt *prompt, const char *profile) {
    char text[1 << 16];
    size_t len = read_profile(profile, text, sizeof text);
    KvpPlan plan;
    FAILS(kvp_plan(pager, prompt, 0, NULL, NULL), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_plan(pager, NULL, 0, NULL, &plan), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    OK(kvp_plan(pager, prompt, 0, NULL, &plan));
    CHECK(plan.first_block == 0 && plan.end_block == 3 && plan.choice == KVP_CHOICE_ASKED && plan.finish_ns == 0);
    CHECK(plan.chunk_blocks >= 1 && plan.cut_after_ns == UINT64_MAX);
    OK(kvp_plan(pager, prompt, 2, NULL, &plan));
    CHECK(plan.first_block == 2 && plan.end_block == 3);
    /* So few tokens cost no more than the last one alone. While the device is busy they are loaded all the same. */
    OK(kvp_set_costs(pager, text, len, 0, 5));
    OK(kvp_plan(pager, prompt, 0, NULL, &plan));
    CHECK(plan.choice != KVP_CHOICE_ASKED && plan.finish_ns > 0 && plan.finish_ns <= plan.finish_by_compute_ns);
    CHECK(plan.finish_ns <= plan.finish_by_load_ns && !plan.is_forced && !plan.is_late);
    KvpUrgency urgency = {1, 60 * SECOND_NS, 0, 0};
    OK(kvp_plan(pager, prompt, 0, &urgency, &plan));
    CHECK(plan.finish_ns > 60 * SECOND_NS && plan.is_late && !plan.is_load_bound);
    /* The engine computes a thousand times as slowly as was measured. */
    uint64_t before = plan.rest_ns;
    for (int step = 0; step < 100; step++) {
        OK(kvp_observe_prefill(pager, 0, 4096, 1000 * SECOND_NS));
    }
    OK(kvp_plan(pager, prompt, 0, &urgency, &plan));
    CHECK(plan.rest_ns > before);
    FAILS(kvp_observe_prefill(pager, 4, 4, 1), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_observe_prefill(NULL, 0, 4, 1), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
}

/* The engine owns the slots: what it offloads comes back into others. */
static void engine_owned(const char *profile) {
    KvpPager *pager = open_pager(NULL, KVP_DEVICE_OWNER_ENGINE, KVP_DEVICE_LAYOUT_BLOCK_MAJOR, DEFAULT_ARM);
    uint32_t tokens[PROMPT], outcomes[3], tiers[4];
    size_t len;
    fill_prompt(tokens, 3);
    KvpPrompt *prompt = NULL;
    KvpExtraKey adapter = {0x1234, 0, 0};
    KvpRequest request = request_for(tokens, PROMPT, 0);
    request.extra_keys = &adapter;
    request.extra_keys_len = 1;
    OK(kvp_prompt_prepare(pager, &request, &prompt));
    KvpBlockAt given[3] = {{0, 1}, {1, 2}, {2, 3}}, wanted[3] = {{0, 7}, {1, 5}, {2, 6}};
    for (size_t i = 0; i < 3; i++) {
        for (size_t row = 0; row < TOKENS_PER_BLOCK * PLANES; row++) {
            uint8_t bytes[ROW_BYTES];
            size_t token = row % TOKENS_PER_BLOCK, plane = row / TOKENS_PER_BLOCK;
            fill_row(bytes, tokens, i * TOKENS_PER_BLOCK + token, plane);
            OK(kvp_slot_write(pager, 0, given[i].slot, plane, token * ROW_BYTES, bytes, ROW_BYTES));
        }
    }
    KvpSequence *sequence = NULL;
    FAILS(kvp_sequence_open(pager, prompt, &sequence), KVP_STATUS_CONFIGURATION, KVP_ERROR_CODE_CONFIGURATION);
    OK(kvp_lookup(pager, prompt, tiers, 4, &len));
    CHECK(len == 0);
    KvpDeliveries *deliveries = NULL;
    KvpBlockAt twice[2] = {{0, 1}, {1, 1}}, nowhere = {0, KVP_SLOT_NONE};
    FAILS(kvp_offload(pager, prompt, twice, 2, KVP_FENCE_OVER, &deliveries), KVP_STATUS_BUG, KVP_ERROR_CODE_SLOT_IN_USE);
    FAILS(kvp_onboard(pager, prompt, &nowhere, 1, KVP_FENCE_OVER, &deliveries), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    FAILS(kvp_onboard(pager, prompt, NULL, 1, KVP_FENCE_OVER, &deliveries), KVP_STATUS_ARGUMENT, KVP_ERROR_CODE_ARGUMENT);
    OK(kvp_offload(pager, prompt, given, 3, KVP_FENCE_OVER, &deliveries));
    settle(deliveries, outcomes, 3);
    CHECK(outcomes[0] == KVP_DELIVERY_DONE && outcomes[1] == KVP_DELIVERY_DONE && outcomes[2] == KVP_DELIVERY_DONE);
    FAILS(kvp_deliveries_poll(deliveries, outcomes, 2, &len), KVP_STATUS_TOO_SMALL, KVP_ERROR_CODE_TOO_SMALL);
    CHECK(len == 3);
    OK(kvp_deliveries_free(deliveries));
    FAILS(kvp_lookup(pager, prompt, tiers, 1, &len), KVP_STATUS_TOO_SMALL, KVP_ERROR_CODE_TOO_SMALL);
    OK(kvp_lookup(pager, prompt, tiers, 4, &len));
    CHECK(len == 3 && tiers[0] == KVP_TIER_HOST);
    plans(pager, prompt, profile);
    OK(kvp_onboard(pager, prompt, wanted, 3, KVP_FENCE_OVER, &deliveries));
    settle(deliveries, outcomes, 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK(outcomes[i] == KVP_DELIVERY_DONE);
        for (size_t row = 0; row < TOKENS_PER_BLOCK * PLANES; row++) {
            uint8_t found[ROW_BYTES], expected[ROW_BYTES];
            size_t token = row % TOKENS_PER_BLOCK, plane = row / TOKENS_PER_BLOCK;
            OK(kvp_slot_read(pager, 0, wanted[i].slot, plane, token * ROW_BYTES, found, ROW_BYTES));
            fill_row(expected, tokens, i * TOKENS_PER_BLOCK + token, plane);
            CHECK(memcmp(found, expected, ROW_BYTES) == 0);
        }
    }
    OK(kvp_deliveries_free(deliveries));
    OK(kvp_deliveries_free(NULL));
    /* The request is over, though its last block was not offloaded; and so is one that finds all it needs in the engine's slots. */
    for (int request_over = 0; request_over < 2; request_over++) {
        OK(kvp_offload(pager, prompt, NULL, 0, KVP_FENCE_OVER, &deliveries));
        OK(kvp_deliveries_free(deliveries));
    }
    KvpShadow shadows[6];
    OK(kvp_shadows(pager, shadows, 6, &len));
    CHECK(len == 6 && shadows[0].tier == KVP_TIER_HOST && shadows[0].references == 8 && shadows[0].prefix_hits == 4);
    kvp_prompt_free(prompt);
    OK(kvp_pager_close(pager));
    OK(kvp_pager_close(NULL));
}

/* A drive is spared, whatever asks for a write. */
static void budget(const char *directory) {
    Arm arm = {KVP_KEEPING_LRU, KVP_LOADING_ADAPTIVE, 24};
    KvpPager *pager = open_pager(directory, KVP_DEVICE_OWNER_MANAGED, KVP_DEVICE_LAYOUT_BLOCK_MAJOR, arm);
    for (uint32_t letter = 1; letter <= 10; letter++) {
        serve_letter(pager, letter, 0);
    }
    KvpWrittenOut written;
    OK(kvp_write_out(pager, 60 * SECOND_NS, &written));
    CHECK(written.blocks == 0 && written.left > 0 && written.is_durable);
    OK(kvp_pager_close(pager));
}

/* How many blocks of the prompt are cached. */
static size_t cached(KvpPager *pager, const KvpPrompt *prompt) {
    uint32_t tiers[4];
    size_t len;
    OK(kvp_lookup(pager, prompt, tiers, 4, &len));
    return len;
}

/* Blocks expire that only prompts with a time to live have used, where the engine owns the slots too; and stay if another has. */
static void engine_owned_for_a_while(void) {
    KvpPager *pager = open_pager(NULL, KVP_DEVICE_OWNER_ENGINE, KVP_DEVICE_LAYOUT_BLOCK_MAJOR, DEFAULT_ARM);
    const uint64_t lives[4] = {1, 3600 * SECOND_NS, 0, 1};
    for (uint64_t salt = 0; salt < 4; salt++) {
        uint32_t tokens[PROMPT], outcomes[3];
        fill_prompt(tokens, 3);
        KvpRequest request = request_for(tokens, PROMPT, salt);
        request.priority = salt % 2 ? KVP_PRIORITY_HIGH : KVP_PRIORITY_NORMAL;
        request.time_to_live_ns = lives[salt];
        KvpPrompt *prompt = NULL, *usual = prepare(pager, tokens, PROMPT, salt);
        OK(kvp_prompt_prepare(pager, &request, &prompt));
        KvpBlockAt given[3] = {{0, 1}, {1, 2}, {2, 3}};
        KvpDeliveries *deliveries = NULL;
        if (salt == 3) {
            /* Made by one that lets them stay. */
            OK(kvp_offload(pager, usual, given, 3, KVP_FENCE_OVER, &deliveries));
            settle(deliveries, outcomes, 3);
            OK(kvp_deliveries_free(deliveries));
            OK(kvp_onboard(pager, prompt, given, 3, KVP_FENCE_OVER, &deliveries));
        } else {
            OK(kvp_offload(pager, prompt, given, 3, KVP_FENCE_OVER, &deliveries));
        }
        settle(deliveries, outcomes, 3);
        OK(kvp_deliveries_free(deliveries));
        OK(kvp_offload(pager, prompt, NULL, 0, KVP_FENCE_OVER, &deliveries));
        OK(kvp_deliveries_free(deliveries));
        OK(kvp_pager_poll(pager));
        CHECK(cached(pager, prompt) == (salt == 0 ? 0 : 3));
        kvp_prompt_free(prompt);
        kvp_prompt_free(usual);
    }
    OK(kvp_pager_close(pager));
}

int main(int count, char **arguments) {
    char directory[1024];
    CHECK(count == 3 && kvp_abi_version() == KVP_ABI_VERSION && kvp_last_error_code() == KVP_ERROR_CODE_NONE);
    snprintf(directory, sizeof directory, "%s/block-major", arguments[1]);
    managed(directory, KVP_DEVICE_LAYOUT_BLOCK_MAJOR);
    snprintf(directory, sizeof directory, "%s/layer-major", arguments[1]);
    managed(directory, KVP_DEVICE_LAYOUT_LAYER_MAJOR);
    engine_owned(arguments[2]);
    engine_owned_for_a_while();
    tenants();
    policies(arguments[1], arguments[2]);
    snprintf(directory, sizeof directory, "%s/budget", arguments[1]);
    budget(directory);
    puts("a whole life");
    return 0;
}
