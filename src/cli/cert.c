/* gatehouse cert: make one, look at one. */
#include "cli/cli.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/certfile.h"

static void print_time(const char *what, int64_t s)
{
    time_t t = (time_t)s;
    struct tm tm;
    char text[32];
    gmtime_r(&t, &tm);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm);
    printf("%-12s %s\n", what, text);
}

static bool fit_for_sstp(const struct certfile_reason *why, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (why[i].severity == SEV_ERROR)
            return false;
    }
    return true;
}

static void show_text(const struct certfile *c, const struct certfile_reason *why, size_t n, int64_t days_left)
{
    printf("%-12s %s\n%-12s", "subject", c->subject, "names");
    for (size_t i = 0; i < c->n_names; i++)
        printf("%s %s", i ? "," : "", c->names[i]);
    printf("%s\n%-12s %s%s\n", c->n_names ? "" : " none", "issuer", c->issuer, c->self_signed ? " (self-signed)" : "");
    print_time("valid from", c->not_before_s);
    print_time("valid until", c->not_after_s);
    printf("%-12s %lld\n", "days left", (long long)days_left);
    printf("%-12s %s, %d bits\n", "key", c->key_type, c->key_bits);
    printf("%-12s %s\n", "usage", c->has_eku ? c->eku : "not restricted");
    printf("%-12s %s\n%-12s %s\n", "SHA-256", c->sha256, "SHA-1", c->sha1);
    printf("%-12s %zu certificate%s\n", "chain", c->chain_len, c->chain_len == 1 ? "" : "s");
    printf("%-12s %s\n", "SSTP", fit_for_sstp(why, n) ? "fit" : "not fit");
    for (size_t i = 0; i < n; i++)
        printf("  %s: %s [%s]\n    %s\n", certfile_severity_name(why[i].severity), why[i].text, why[i].code,
               why[i].remedy);
}

static void show_json(const struct certfile *c, const struct certfile_reason *why, size_t n, int64_t days_left)
{
    json_t *names = json_array(), *reasons = json_array();
    for (size_t i = 0; i < c->n_names; i++)
        json_array_append_new(names, json_string(c->names[i]));
    for (size_t i = 0; i < n; i++)
        json_array_append_new(reasons,
                              json_pack("{s:s, s:s, s:s, s:s}", "severity", certfile_severity_name(why[i].severity),
                                        "code", why[i].code, "text", why[i].text, "remedy", why[i].remedy));
    json_t *all = json_pack("{s:s, s:o, s:s, s:b, s:I, s:I, s:I, s:s, s:i, s:s, s:s, s:s, s:i, s:b, s:o}", "subject",
                            c->subject, "names", names, "issuer", c->issuer, "self_signed", c->self_signed,
                            "not_before", (json_int_t)c->not_before_s, "not_after", (json_int_t)c->not_after_s,
                            "days_left", (json_int_t)days_left, "key_type", c->key_type, "key_bits", c->key_bits,
                            "usage", c->eku, "sha256", c->sha256, "sha1", c->sha1, "chain_length", (int)c->chain_len,
                            "sstp_fit", fit_for_sstp(why, n), "findings", reasons);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static int cert_show(const char *path, bool json)
{
    static struct certfile c;
    struct certfile_reason why[CERTFILE_REASONS_MAX];
    int rc = certfile_load(path, &c, why);
    if (rc < 0) {
        cli_fail("%s: %s", path, why->text);
        return rc == ERR_SYSTEM ? EXIT_USAGE : EXIT_BAD;
    }
    int64_t now = time(NULL), left = (c.not_after_s - now) / 86400;
    size_t n = certfile_judge(&c, now, why);
    if (json)
        show_json(&c, why, n, left);
    else
        show_text(&c, why, n, left);
    return fit_for_sstp(why, n) ? EXIT_GOOD : EXIT_BAD;
}

static int cert_new(struct certfile_spec *spec)
{
    char why[512];
    if (!spec->cert_path)
        spec->cert_path = spec->request ? "gatehouse.csr" : "gatehouse.pem";
    if (!spec->key_path)
        spec->key_path = "gatehouse.key";
    int rc = certfile_make(spec, why, sizeof why);
    if (rc < 0) {
        cli_fail("%s", why);
        return rc == ERR_USAGE ? EXIT_USAGE : EXIT_BAD;
    }
    printf("%s: the %s\n%s: its private key\n", spec->cert_path, spec->request ? "request" : "certificate",
           spec->key_path);
    if (spec->request)
        puts("Send the request to your authority. What comes back is the chain, with the issuers behind it.");
    else
        printf("In the configuration: certificates: ( { chain = \"%s\"; key = \"%s\"; } );\n"
               "It is self-signed: clients must be given it as a trusted root.\n",
               spec->cert_path, spec->key_path);
    return EXIT_GOOD;
}

static bool set_days(const char *text, int *days)
{
    char *end;
    long n = strtol(text, &end, 10);
    *days = (int)n;
    return end != text && !*end && n >= 1 && n <= 7300;
}

int cli_cert(int argc, char **argv)
{
    static const struct option options[] = {
        { "key", required_argument, NULL, 'k' },
        { "days", required_argument, NULL, 'd' },
        { "out-cert", required_argument, NULL, 'o' },
        { "out-key", required_argument, NULL, 'O' },
        { "csr", no_argument, NULL, 'r' },
        { "force", no_argument, NULL, 'f' },
        { "json", no_argument, NULL, 'j' },
        { 0 },
    };
    struct certfile_spec spec = { .days = 825 };
    bool json = false, good = true;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'k':
            spec.rsa = !strcmp(optarg, "rsa");
            good = good && (spec.rsa || !strcmp(optarg, "ec"));
            break;
        case 'd': good = good && set_days(optarg, &spec.days); break;
        case 'o': spec.cert_path = optarg; break;
        case 'O': spec.key_path = optarg; break;
        case 'r': spec.request = true; break;
        case 'f': spec.replace = true; break;
        case 'j': json = true; break;
        default: return EXIT_USAGE;
        }
    }
    const char *verb = optind < argc ? argv[optind++] : "";
    if (!good) {
        cli_fail("--key is ec or rsa, --days is 1 to 7300");
        return EXIT_USAGE;
    }
    if (!strcmp(verb, "show") && argc - optind == 1)
        return cert_show(argv[optind], json);
    if (!strcmp(verb, "new") && optind < argc) {
        spec.names = (const char *const *)(argv + optind);
        spec.n_names = (size_t)(argc - optind);
        return cert_new(&spec);
    }
    cli_fail("usage: gatehouse cert new NAME..., or gatehouse cert show FILE; see gatehouse cert --help");
    return EXIT_USAGE;
}
