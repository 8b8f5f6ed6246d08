/*
 * A small PKCS#11 token for tests: Ed25519, ECDSA on P-256 and P-384, RSA and ML-DSA (PKCS#11 3.2), by the OpenSSL of the process that loads it.
 * Objects are files beside the control file, which is named by TOKEN_MODULE_CONTROL and read at every call. Its lines:
 *   pin=TEXT            the user's PIN
 *   hang=FUNCTION:MS    this function takes so long
 *   drop_idle_ms=N      sessions are dropped that were idle for so long
 *   removed=1           CKR_DEVICE_REMOVED
 *   host_memory=FUNCTION:WORD   CKR_HOST_MEMORY, once for each word
 * Wrong PINs are counted as bytes of the file <control>.pins.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word;
typedef struct { word type; void *value; word length; } Attribute;
typedef struct { word mechanism; void *parameter; word length; } Mechanism;
typedef struct { word hash, mgf, salt; } Pss;
typedef struct { unsigned char major, minor; } Version;

/* Of OpenSSL 3.5; the functions are those of the process. */
typedef struct evp_pkey_st EVP_PKEY;
typedef struct evp_pkey_ctx_st EVP_PKEY_CTX;
typedef struct evp_md_ctx_st EVP_MD_CTX;
typedef struct evp_md_st EVP_MD;
typedef struct bignum_st BIGNUM;
typedef struct ECDSA_SIG_st ECDSA_SIG;
extern EVP_PKEY *EVP_PKEY_Q_keygen(void *, const char *, const char *, ...);
extern void EVP_PKEY_free(EVP_PKEY *);
extern int EVP_PKEY_get_bits(const EVP_PKEY *);
extern int i2d_PrivateKey(const EVP_PKEY *, unsigned char **);
extern EVP_PKEY *d2i_AutoPrivateKey(EVP_PKEY **, const unsigned char **, long);
extern int EVP_PKEY_get_raw_public_key(const EVP_PKEY *, unsigned char *, size_t *);
extern size_t EVP_PKEY_get1_encoded_public_key(EVP_PKEY *, unsigned char **);
extern int EVP_PKEY_get_bn_param(const EVP_PKEY *, const char *, BIGNUM **);
extern int BN_num_bits(const BIGNUM *);
extern int BN_bn2bin(const BIGNUM *, unsigned char *);
extern int BN_bn2binpad(const BIGNUM *, unsigned char *, int);
extern void BN_free(BIGNUM *);
extern EVP_MD_CTX *EVP_MD_CTX_new(void);
extern void EVP_MD_CTX_free(EVP_MD_CTX *);
extern int EVP_DigestSignInit(EVP_MD_CTX *, EVP_PKEY_CTX **, const EVP_MD *, void *, EVP_PKEY *);
extern int EVP_DigestSign(EVP_MD_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);
extern EVP_PKEY_CTX *EVP_PKEY_CTX_new(EVP_PKEY *, void *);
extern void EVP_PKEY_CTX_free(EVP_PKEY_CTX *);
extern int EVP_PKEY_sign_init(EVP_PKEY_CTX *);
extern int EVP_PKEY_sign(EVP_PKEY_CTX *, unsigned char *, size_t *, const unsigned char *, size_t);
extern int EVP_PKEY_CTX_set_rsa_padding(EVP_PKEY_CTX *, int);
extern int EVP_PKEY_CTX_set_rsa_pss_saltlen(EVP_PKEY_CTX *, int);
extern int EVP_PKEY_CTX_set_rsa_mgf1_md(EVP_PKEY_CTX *, const EVP_MD *);
extern int EVP_PKEY_CTX_set_signature_md(EVP_PKEY_CTX *, const EVP_MD *);
extern const EVP_MD *EVP_sha256(void);
extern const EVP_MD *EVP_sha384(void);
extern const EVP_MD *EVP_sha512(void);
extern ECDSA_SIG *d2i_ECDSA_SIG(ECDSA_SIG **, const unsigned char **, long);
extern void ECDSA_SIG_get0(const ECDSA_SIG *, const BIGNUM **, const BIGNUM **);
extern void ECDSA_SIG_free(ECDSA_SIG *);

enum {
  OK = 0, HOST_MEMORY = 0x02, GENERAL = 0x05, DEVICE_REMOVED = 0x32, SENSITIVE = 0x11, NO_ATTRIBUTE = 0x12,
  KEY_HANDLE = 0x60, MECHANISM = 0x70, OBJECT_HANDLE = 0x82, ACTIVE = 0x90, NOT_ACTIVE = 0x91, PIN_INCORRECT = 0xa0,
  SESSION_COUNT = 0xb1, SESSION_HANDLE = 0xb3, LOGGED_IN = 0x100, LOGGED_OUT = 0x101, BUFFER = 0x150,
  NOT_INITIALIZED = 0x190, INITIALIZED = 0x191, NOT_SUPPORTED = 0x54
};
/* The private key itself, in DER: an attribute that is shown to nobody. */
#define SECRET 0x80000001UL
#define MAX_ATTRIBUTES 32
#define MAX_OBJECTS 1024
#define MAX_SESSIONS 64

typedef struct { int used; word count; Attribute attributes[MAX_ATTRIBUTES]; } Object;
typedef struct { int used; long long seen; word key; Mechanism mechanism; Pss pss; word found[MAX_OBJECTS]; word finds, next; int finding; } Session;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Object objects[MAX_OBJECTS];
static Session sessions[MAX_SESSIONS];
static int initialized, logged_in;
static char last_word[128];

static long long now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static const char *control(void) {
  const char *path = getenv("TOKEN_MODULE_CONTROL");
  return path == NULL ? "" : path;
}

/* The value of a line of the control file; 0 where there is none. */
static int setting(const char *name, char *value, size_t room) {
  char line[256];
  size_t length = strlen(name);
  int found = 0;
  FILE *file = fopen(control(), "r");
  if (file == NULL) return 0;
  while (fgets(line, sizeof line, file) != NULL) {
    line[strcspn(line, "\r\n")] = 0;
    if (strncmp(line, name, length) != 0 || line[length] != '=') continue;
    snprintf(value, room, "%s", line + length + 1);
    found = 1;
  }
  fclose(file);
  return found;
}

/* What is after the colon, where what is before it is this function. */
static const char *of_function(char *value, const char *function) {
  char *colon = strchr(value, ':');
  if (colon == NULL) return NULL;
  *colon = 0;
  return strcmp(value, function) == 0 ? colon + 1 : NULL;
}

/* The faults that every function has; called without the lock. */
static word faults(const char *function) {
  char value[256];
  const char *rest;
  if (!initialized) return NOT_INITIALIZED;
  if (setting("hang", value, sizeof value) && (rest = of_function(value, function)) != NULL) usleep(atol(rest) * 1000);
  if (setting("removed", value, sizeof value)) return DEVICE_REMOVED;
  if (setting("host_memory", value, sizeof value) && (rest = of_function(value, function)) != NULL) {
    pthread_mutex_lock(&lock);
    int again = strcmp(rest, last_word) == 0;
    snprintf(last_word, sizeof last_word, "%s", rest);
    pthread_mutex_unlock(&lock);
    if (!again) return HOST_MEMORY;
  }
  return OK;
}

static void drop_idle(void) {
  char value[64];
  int left = 0;
  long long limit = setting("drop_idle_ms", value, sizeof value) ? atoll(value) : 0;
  for (int n = 0; n < MAX_SESSIONS; n++) {
    if (!sessions[n].used) continue;
    if (limit > 0 && now_ms() - sessions[n].seen > limit) sessions[n].used = 0;
    else left++;
  }
  /* A login ends with the last session. */
  if (left == 0) logged_in = 0;
}

static Session *session_of(word handle) {
  drop_idle();
  if (handle < 1 || handle > MAX_SESSIONS || !sessions[handle - 1].used) return NULL;
  sessions[handle - 1].seen = now_ms();
  return &sessions[handle - 1];
}

static Object *object_of(word handle) {
  return handle < 1 || handle > MAX_OBJECTS || !objects[handle - 1].used ? NULL : &objects[handle - 1];
}

static Attribute *attribute_of(Object *object, word type) {
  for (word n = 0; n < object->count; n++)
    if (object->attributes[n].type == type) return &object->attributes[n];
  return NULL;
}

static void put(Object *object, word type, const void *value, word length) {
  Attribute *known = attribute_of(object, type);
  if (known == NULL && object->count == MAX_ATTRIBUTES) return;
  if (known == NULL) known = &object->attributes[object->count++];
  else free(known->value);
  known->type = type;
  known->value = malloc(length + 1);
  memcpy(known->value, value, length);
  known->length = length;
}

static void put_word(Object *object, word type, word value) { put(object, type, &value, sizeof value); }
static void put_flag(Object *object, word type, unsigned char value) { put(object, type, &value, 1); }

static word new_object(void) {
  for (word n = 0; n < MAX_OBJECTS; n++)
    if (!objects[n].used) {
      memset(&objects[n], 0, sizeof objects[n]);
      objects[n].used = 1;
      return n + 1;
    }
  return 0;
}

static void path_of(word handle, char *path, size_t room) { snprintf(path, room, "%s.%lu.object", control(), handle); }

static void save(word handle) {
  char path[512];
  Object *object = object_of(handle);
  path_of(handle, path, sizeof path);
  FILE *file = fopen(path, "wb");
  if (file == NULL) return;
  for (word n = 0; n < object->count; n++) {
    fwrite(&object->attributes[n].type, sizeof(word), 1, file);
    fwrite(&object->attributes[n].length, sizeof(word), 1, file);
    fwrite(object->attributes[n].value, 1, object->attributes[n].length, file);
  }
  fclose(file);
}

static void clear(Object *object) {
  for (word n = 0; n < object->count; n++) free(object->attributes[n].value);
  memset(object, 0, sizeof *object);
}

static void load_all(void) {
  char path[512];
  for (word n = 0; n < MAX_OBJECTS; n++) {
    word type, length;
    clear(&objects[n]);
    path_of(n + 1, path, sizeof path);
    FILE *file = fopen(path, "rb");
    if (file == NULL) continue;
    objects[n].used = 1;
    while (fread(&type, sizeof type, 1, file) == 1 && fread(&length, sizeof length, 1, file) == 1) {
      unsigned char *value = malloc(length + 1);
      if (fread(value, 1, length, file) == length) put(&objects[n], type, value, length);
      free(value);
    }
    fclose(file);
  }
}

static word initialize(void *arguments) {
  (void)arguments;
  pthread_mutex_lock(&lock);
  if (initialized) { pthread_mutex_unlock(&lock); return INITIALIZED; }
  memset(sessions, 0, sizeof sessions);
  logged_in = 0;
  load_all();
  initialized = 1;
  pthread_mutex_unlock(&lock);
  return OK;
}

static word finalize(void *reserved) {
  (void)reserved;
  pthread_mutex_lock(&lock);
  word result = initialized ? OK : NOT_INITIALIZED;
  initialized = 0;
  pthread_mutex_unlock(&lock);
  return result;
}

static word slot_list(unsigned char present, word *slots, word *count) {
  char value[16];
  (void)present;
  if (!initialized) return NOT_INITIALIZED;
  int removed = setting("removed", value, sizeof value);
  if (slots != NULL && !removed) slots[0] = 7;
  *count = removed ? 0 : 1;
  return OK;
}

static void padded(char *place, size_t room, const char *text) {
  memset(place, ' ', room);
  memcpy(place, text, strlen(text));
}

typedef struct {
  char label[32], manufacturer[32], model[16], serial[16];
  word flags, sessions[4], pin[2], memory[4];
  Version hardware, firmware;
  char time[16];
} TokenInfo;

static word token_info(word slot, TokenInfo *info) {
  word fault = faults("C_GetTokenInfo");
  (void)slot;
  if (fault != OK) return fault;
  memset(info, 0, sizeof *info);
  padded(info->label, 32, "test");
  padded(info->manufacturer, 32, "Intaglio tests");
  padded(info->model, 16, "C");
  padded(info->serial, 16, "0007");
  info->flags = 0x40d;
  info->firmware.major = 1;
  info->firmware.minor = 2;
  return OK;
}

static word mechanism_list(word slot, word *list, word *count) {
  static const word all[] = {0x0000, 0x0001, 0x000d, 0x001c, 0x001d, 0x1040, 0x1041, 0x1055, 0x1057};
  word number = sizeof all / sizeof *all;
  (void)slot;
  if (list != NULL) memcpy(list, all, sizeof all);
  *count = number;
  return initialized ? OK : NOT_INITIALIZED;
}

static word open_session(word slot, word flags, void *application, void *notify, word *handle) {
  word fault = faults("C_OpenSession");
  (void)slot; (void)flags; (void)application; (void)notify;
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  drop_idle();
  fault = SESSION_COUNT;
  for (int n = 0; n < MAX_SESSIONS; n++) {
    if (sessions[n].used) continue;
    memset(&sessions[n], 0, sizeof sessions[n]);
    sessions[n].used = 1;
    sessions[n].seen = now_ms();
    *handle = n + 1;
    fault = OK;
    break;
  }
  pthread_mutex_unlock(&lock);
  return fault;
}

static word close_session(word handle) {
  pthread_mutex_lock(&lock);
  Session *session = session_of(handle);
  if (session != NULL) session->used = 0;
  drop_idle();
  pthread_mutex_unlock(&lock);
  return session == NULL ? SESSION_HANDLE : OK;
}

static word session_info(word handle, word *info) {
  word fault = faults("C_GetSessionInfo");
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  Session *session = session_of(handle);
  if (session != NULL) { info[0] = 7; info[1] = logged_in ? 3 : 2; info[2] = 6; info[3] = 0; }
  pthread_mutex_unlock(&lock);
  return session == NULL ? SESSION_HANDLE : OK;
}

static word login(word handle, word user, const char *pin, word length) {
  char right[256] = "", path[512];
  word fault = faults("C_Login");
  (void)user;
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  fault = session_of(handle) == NULL ? SESSION_HANDLE : logged_in ? LOGGED_IN : OK;
  if (fault == OK) {
    setting("pin", right, sizeof right);
    if (strlen(right) == length && memcmp(right, pin, length) == 0) logged_in = 1;
    else {
      snprintf(path, sizeof path, "%s.pins", control());
      FILE *file = fopen(path, "ab");
      if (file != NULL) { fputc('x', file); fclose(file); }
      fault = PIN_INCORRECT;
    }
  }
  pthread_mutex_unlock(&lock);
  return fault;
}

static word find_init(word handle, Attribute *template, word count) {
  word fault = faults("C_FindObjectsInit");
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  Session *session = session_of(handle);
  if (session == NULL) fault = SESSION_HANDLE;
  else if (session->finding) fault = ACTIVE;
  else {
    session->finding = 1;
    session->finds = session->next = 0;
    for (word n = 0; n < MAX_OBJECTS; n++) {
      int same = objects[n].used;
      for (word m = 0; same && m < count; m++) {
        Attribute *own = attribute_of(&objects[n], template[m].type);
        same = own != NULL && own->length == template[m].length && memcmp(own->value, template[m].value, own->length) == 0;
      }
      Attribute *private = same ? attribute_of(&objects[n], 2) : NULL;
      if (same && private != NULL && *(unsigned char *)private->value && !logged_in) same = 0;
      if (same) session->found[session->finds++] = n + 1;
    }
  }
  pthread_mutex_unlock(&lock);
  return fault;
}

static word find_next(word handle, word *place, word most, word *count) {
  pthread_mutex_lock(&lock);
  Session *session = session_of(handle);
  word fault = session == NULL ? SESSION_HANDLE : session->finding ? OK : NOT_ACTIVE;
  *count = 0;
  while (fault == OK && *count < most && session->next < session->finds) place[(*count)++] = session->found[session->next++];
  pthread_mutex_unlock(&lock);
  return fault;
}

static word find_final(word handle) {
  pthread_mutex_lock(&lock);
  Session *session = session_of(handle);
  if (session != NULL) session->finding = 0;
  pthread_mutex_unlock(&lock);
  return session == NULL ? SESSION_HANDLE : OK;
}

static word get_attributes(word handle, word object_handle, Attribute *wanted, word count) {
  word fault = faults("C_GetAttributeValue");
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  Object *object = object_of(object_handle);
  if (session_of(handle) == NULL) fault = SESSION_HANDLE;
  else if (object == NULL) fault = OBJECT_HANDLE;
  for (word n = 0; fault != SESSION_HANDLE && fault != OBJECT_HANDLE && n < count; n++) {
    Attribute *own = attribute_of(object, wanted[n].type);
    int secret = attribute_of(object, SECRET) != NULL && (wanted[n].type == 0x11 || (wanted[n].type >= 0x123 && wanted[n].type <= 0x128));
    if (secret || own == NULL) {
      wanted[n].length = (word)-1;
      fault = secret ? SENSITIVE : NO_ATTRIBUTE;
    } else if (wanted[n].value == NULL) wanted[n].length = own->length;
    else if (wanted[n].length < own->length) { wanted[n].length = (word)-1; fault = BUFFER; }
    else { memcpy(wanted[n].value, own->value, own->length); wanted[n].length = own->length; }
  }
  pthread_mutex_unlock(&lock);
  return fault;
}

static word create_object(word handle, Attribute *template, word count, word *made) {
  word fault = faults("C_CreateObject");
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  if (session_of(handle) == NULL) fault = SESSION_HANDLE;
  else {
    *made = new_object();
    for (word n = 0; n < count; n++) put(object_of(*made), template[n].type, template[n].value, template[n].length);
    save(*made);
  }
  pthread_mutex_unlock(&lock);
  return fault;
}

static word destroy_object(word handle, word object) {
  char path[512];
  word fault = faults("C_DestroyObject");
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  if (session_of(handle) == NULL) fault = SESSION_HANDLE;
  else if (object_of(object) == NULL) fault = OBJECT_HANDLE;
  else {
    clear(object_of(object));
    path_of(object, path, sizeof path);
    unlink(path);
  }
  pthread_mutex_unlock(&lock);
  return fault;
}

static Attribute *in_template(Attribute *template, word count, word type) {
  for (word n = 0; n < count; n++)
    if (template[n].type == type) return &template[n];
  return NULL;
}

static word word_in(Attribute *template, word count, word type) {
  Attribute *found = in_template(template, count, type);
  word value = 0;
  if (found != NULL) memcpy(&value, found->value, found->length < sizeof value ? found->length : sizeof value);
  return value;
}

/* Attributes of a public key that its private one has as well. */
static void put_public(Object *public, Object *private, EVP_PKEY *key, word key_type) {
  unsigned char bytes[4096];
  size_t length = sizeof bytes;
  if (key_type == 0x00) {
    BIGNUM *n = NULL;
    EVP_PKEY_get_bn_param(key, "n", &n);
    int size = BN_bn2bin(n, bytes);
    put(public, 0x120, bytes, size);
    put(private, 0x120, bytes, size);
    put(public, 0x122, "\x01\x00\x01", 3);
    put(private, 0x122, "\x01\x00\x01", 3);
    put_word(public, 0x121, BN_num_bits(n));
    BN_free(n);
  } else if (key_type == 0x03) {
    unsigned char *point = NULL;
    size_t size = EVP_PKEY_get1_encoded_public_key(key, &point);
    bytes[0] = 4;
    bytes[1] = (unsigned char)size;
    memcpy(bytes + 2, point, size);
    put(public, 0x181, bytes, size + 2);
  } else {
    size_t skipped = key_type == 0x40 ? 2 : 0;
    length -= skipped;
    EVP_PKEY_get_raw_public_key(key, bytes + skipped, &length);
    bytes[0] = skipped ? 4 : bytes[0];
    bytes[1] = skipped ? (unsigned char)length : bytes[1];
    put(public, key_type == 0x40 ? 0x181 : 0x11, bytes, length + skipped);
  }
}

/* By the object identifier of the curve, 1.3.132.0.34. */
static int is_p384(Attribute *template, word count) {
  Attribute *curve = in_template(template, count, 0x180);
  return curve != NULL && curve->length == 7 && memcmp(curve->value, "\x06\x05\x2b\x81\x04\x00\x22", 7) == 0;
}

static EVP_PKEY *generate(word mechanism, Attribute *template, word count, word *key_type) {
  static const char *sets[] = {"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"};
  word set;
  switch (mechanism) {
    case 0x0000: *key_type = 0x00; return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)word_in(template, count, 0x121));
    case 0x1040: *key_type = 0x03; return EVP_PKEY_Q_keygen(NULL, NULL, "EC", is_p384(template, count) ? "P-384" : "P-256");
    case 0x1055: *key_type = 0x40; return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case 0x001c:
      *key_type = 0x4a;
      set = word_in(template, count, 0x61d);
      return set < 1 || set > 3 ? NULL : EVP_PKEY_Q_keygen(NULL, NULL, sets[set - 1]);
    default: return NULL;
  }
}

static word generate_pair(word handle, Mechanism *mechanism, Attribute *public, word publics, Attribute *private, word privates, word *public_handle, word *private_handle) {
  word key_type = 0, fault = faults("C_GenerateKeyPair");
  unsigned char *der = NULL;
  if (fault != OK) return fault;
  EVP_PKEY *key = generate(mechanism->mechanism, public, publics, &key_type);
  if (key == NULL) return MECHANISM;
  pthread_mutex_lock(&lock);
  if (session_of(handle) == NULL) fault = SESSION_HANDLE;
  else if (!logged_in) fault = LOGGED_OUT;
  else {
    *public_handle = new_object();
    *private_handle = new_object();
    Object *p = object_of(*public_handle), *s = object_of(*private_handle);
    for (word n = 0; n < publics; n++) {
      put(p, public[n].type, public[n].value, public[n].length);
      if (public[n].type == 0x180 || public[n].type == 0x61d) put(s, public[n].type, public[n].value, public[n].length);
    }
    for (word n = 0; n < privates; n++) put(s, private[n].type, private[n].value, private[n].length);
    put_word(p, 0x000, 2);
    put_word(s, 0x000, 3);
    put_word(p, 0x100, key_type);
    put_word(s, 0x100, key_type);
    put_flag(s, 0x163, 1);
    put_flag(s, 0x164, 1);
    put_flag(s, 0x165, 1);
    put_public(p, s, key, key_type);
    int length = i2d_PrivateKey(key, &der);
    put(s, SECRET, der, length);
    save(*public_handle);
    save(*private_handle);
  }
  pthread_mutex_unlock(&lock);
  EVP_PKEY_free(key);
  return fault;
}

static word sign_init(word handle, Mechanism *mechanism, word key) {
  word fault = faults("C_SignInit");
  if (fault != OK) return fault;
  pthread_mutex_lock(&lock);
  Session *session = session_of(handle);
  Object *object = object_of(key);
  if (session == NULL) fault = SESSION_HANDLE;
  else if (!logged_in) fault = LOGGED_OUT;
  else if (session->key != 0) fault = ACTIVE;
  else if (object == NULL || attribute_of(object, SECRET) == NULL) fault = KEY_HANDLE;
  else {
    session->key = key;
    session->mechanism = *mechanism;
    if (mechanism->parameter != NULL && mechanism->length == sizeof(Pss)) memcpy(&session->pss, mechanism->parameter, sizeof(Pss));
  }
  pthread_mutex_unlock(&lock);
  return fault;
}

static const EVP_MD *digest_of(word hash) { return hash == 0x260 ? EVP_sha384() : hash == 0x270 ? EVP_sha512() : EVP_sha256(); }

static int sign_digest(EVP_PKEY *key, Session *operation, const unsigned char *data, word length, unsigned char *signature, size_t *room) {
  EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
  word mechanism = operation->mechanism.mechanism;
  int done = context != NULL && EVP_PKEY_sign_init(context) == 1;
  if (done && mechanism == 0x0001) done = EVP_PKEY_CTX_set_rsa_padding(context, 1) == 1;
  if (done && mechanism == 0x000d) {
    const EVP_MD *digest = digest_of(operation->pss.hash);
    done = EVP_PKEY_CTX_set_rsa_padding(context, 6) == 1 && EVP_PKEY_CTX_set_signature_md(context, digest) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(context, digest) == 1 && EVP_PKEY_CTX_set_rsa_pss_saltlen(context, (int)operation->pss.salt) == 1;
  }
  done = done && EVP_PKEY_sign(context, signature, room, data, length) == 1;
  EVP_PKEY_CTX_free(context);
  if (done && mechanism == 0x1041) {
    const unsigned char *at = signature;
    const BIGNUM *r, *s;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)*room);
    ECDSA_SIG_get0(pair, &r, &s);
    int half = (EVP_PKEY_get_bits(key) + 7) / 8;
    BN_bn2binpad(r, signature, half);
    BN_bn2binpad(s, signature + half, half);
    ECDSA_SIG_free(pair);
    *room = 2 * (size_t)half;
  }
  return done;
}

static word do_sign(word handle, const unsigned char *data, word length, unsigned char *signature, word *room) {
  unsigned char made[5000];
  size_t size = sizeof made;
  Session operation;
  EVP_PKEY *key = NULL;
  word fault = faults("C_Sign");
  if (fault != OK && fault != HOST_MEMORY) return fault;
  pthread_mutex_lock(&lock);
  Session *session = session_of(handle);
  if (session == NULL) fault = SESSION_HANDLE;
  else if (session->key == 0) fault = NOT_ACTIVE;
  else {
    operation = *session;
    Object *object = object_of(session->key);
    session->key = 0;
    Attribute *secret = object == NULL ? NULL : attribute_of(object, SECRET);
    if (secret == NULL) fault = KEY_HANDLE;
    else {
      const unsigned char *at = secret->value;
      key = d2i_AutoPrivateKey(NULL, &at, (long)secret->length);
    }
  }
  pthread_mutex_unlock(&lock);
  if (fault == OK && key == NULL) fault = GENERAL;
  if (fault == OK) {
    int done;
    if (operation.mechanism.mechanism == 0x1057 || operation.mechanism.mechanism == 0x001d) {
      EVP_MD_CTX *context = EVP_MD_CTX_new();
      done = EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 && EVP_DigestSign(context, made, &size, data, length) == 1;
      EVP_MD_CTX_free(context);
    } else done = sign_digest(key, &operation, data, length, made, &size);
    if (!done) fault = GENERAL;
    else if (*room < size) fault = BUFFER;
    else { memcpy(signature, made, size); *room = size; }
  }
  EVP_PKEY_free(key);
  return fault;
}

static word not_supported(void) { return NOT_SUPPORTED; }

static struct { Version version; void *functions[68]; } list = {.version = {2, 40}};
static word function_list(void **place);

__attribute__((visibility("default"))) word C_GetFunctionList(void **place) { return function_list(place); }

static word function_list(void **place) {
  for (int n = 0; n < 68; n++) list.functions[n] = (void *)not_supported;
  list.functions[0] = (void *)initialize;
  list.functions[1] = (void *)finalize;
  list.functions[3] = (void *)C_GetFunctionList;
  list.functions[4] = (void *)slot_list;
  list.functions[6] = (void *)token_info;
  list.functions[7] = (void *)mechanism_list;
  list.functions[12] = (void *)open_session;
  list.functions[13] = (void *)close_session;
  list.functions[15] = (void *)session_info;
  list.functions[18] = (void *)login;
  list.functions[20] = (void *)create_object;
  list.functions[22] = (void *)destroy_object;
  list.functions[24] = (void *)get_attributes;
  list.functions[26] = (void *)find_init;
  list.functions[27] = (void *)find_next;
  list.functions[28] = (void *)find_final;
  list.functions[42] = (void *)sign_init;
  list.functions[43] = (void *)do_sign;
  list.functions[59] = (void *)generate_pair;
  *place = &list;
  return OK;
}
