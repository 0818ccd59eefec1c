#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "tests/support/property.h"

namespace kvx {
namespace {

[[maybe_unused]] const bool kFixed = test::fix_properties();

std::string canonical(std::string_view text) { return Descriptor::parse(text).str(); }

// The message of the usage error that parsing must give.
std::string refusal(std::string_view text) {
  try {
    return "accepted as " + canonical(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kUsage) << text;
    return error.what();
  }
}

testing::AssertionResult contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "'" << part << "' not in: " << text;
}

// A scheme with a key of every kind, judged by the same parser.
const SchemeSchema& every_kind() {
  static const SchemeSchema schema{
      .name = "every",
      .version = 3,
      .summary = "",
      .paper = "",
      .keys = {
          {.name = "format", .kind = KeyKind::kFlag, .words = {"e4m3", "q8_0", "int3"}},
          {.name = "k", .doc = "bits", .required = true, .ints = {2, 4, 8}},
          {.name = "v", .doc = "bits", .required = true, .glued_to_previous = true, .max = 16},
          {.name = "g", .fallback = "32", .min = 1},
          {.name = "n", .min = -8, .max = 8},
          {.name = "o", .kind = KeyKind::kReal, .fallback = "0.01", .max = 1},
          {.name = "profile",
           .kind = KeyKind::kWord,
           .fallback = "repo",
           .words = {"repo", "paper"}},
          {.name = "sym", .kind = KeyKind::kFlag, .words = {"sym"}},
          {.name = "cb", .kind = KeyKind::kArtifact},
          {.name = "base", .kind = KeyKind::kDescriptor},
      }};
  return schema;
}

std::string canonical_every(std::string_view items) {
  return Descriptor::parse("every:" + std::string(items), every_kind()).str();
}

TEST(Descriptor, CanonicalFormDropsDefaultsAndOrdersKeys) {
  EXPECT_EQ(canonical("kivi:k2v2"), "kivi:k2v2");
  EXPECT_EQ(canonical("kivi:v4k2,r128,g32,profile=repo"), "kivi:k2v4");
  EXPECT_EQ(canonical("kivi:profile=paper,g64,k2,v2"), "kivi:k2v2,g64,profile=paper");
  EXPECT_EQ(canonical("kivi:k2v2g64r256"), "kivi:k2v2,g64,r256");
  EXPECT_EQ(canonical("kivi:k=2,v=2,g=64,r=0"), "kivi:k2v2,g64,r0");
  EXPECT_EQ(canonical("int:sym,k4v3,vaxis=channel,kaxis=token"), "int:k4v3,vaxis=channel,sym");
  EXPECT_EQ(canonical("fp:f32"), "fp:f32");
  EXPECT_EQ(canonical("fp:type=f32"), "fp:f32");
  EXPECT_EQ(Descriptor::parse("kivi:k2v2,g64").versioned(), "kivi@1:k2v2,g64");
  EXPECT_EQ(canonical("kivi@1:k2v2,g64"), "kivi:k2v2,g64");
}

TEST(Descriptor, EveryKindOfKey) {
  EXPECT_EQ(canonical_every("v16,k4"), "every:k4v16");
  EXPECT_EQ(canonical_every("k4v0,q8_0,o0.010"), "every:q8_0,k4v0");
  EXPECT_EQ(canonical_every("k4v0,int3,sym,o0.50"), "every:int3,k4v0,o0.5,sym");
  EXPECT_EQ(canonical_every("k4v0,o1.0,n-8"), "every:k4v0,n-8,o1");
  EXPECT_EQ(canonical_every("k4v0,o0"), "every:k4v0,o0");
  EXPECT_EQ(canonical_every("k4v0,o-0"), "every:k4v0,o0");
  EXPECT_EQ(canonical_every("k4v0,o=0.0000001"), "every:k4v0,o0.0000001");
  EXPECT_EQ(canonical_every("k4v0,cb=#0123abcd"), "every:k4v0,cb=#0123abcd");
  EXPECT_EQ(canonical_every("k4v0,cb=../code books/a=b.bin"),
            "every:k4v0,cb=../code books/a=b.bin");
  EXPECT_EQ(canonical_every("base=(kivi:v2k2,g32),k4v0"), "every:k4v0,base=(kivi:k2v2)");
  EXPECT_EQ(canonical_every("base=(f16),k4v0"), "every:k4v0,base=(fp:f16)");

  const auto d = Descriptor::parse("every:k4v0,e4m3,o0.25,base=(kivi2),cb=x", every_kind());
  EXPECT_EQ(d.get_int("k"), 4);
  EXPECT_EQ(d.get_int("g"), 32);
  EXPECT_EQ(d.find_int("n"), std::nullopt);
  EXPECT_EQ(d.get_real("o"), 0.25);
  EXPECT_EQ(d.get_word("format"), "e4m3");
  EXPECT_EQ(d.get_word("profile"), "repo");
  EXPECT_EQ(d.get_word("cb"), "x");
  EXPECT_EQ(d.get_word("base"), "kivi:k2v2");
  EXPECT_FALSE(d.has_flag("sym"));
  EXPECT_EQ(d.versioned(), "every@3:e4m3,k4v0,o0.25,cb=x,base=(kivi:k2v2)");
  EXPECT_THROW(d.get_int("n"), std::logic_error);
  EXPECT_THROW(d.get_int("no"), std::logic_error);
}

TEST(Descriptor, Aliases) {
  for (const Alias& alias : aliases()) {
    EXPECT_EQ(canonical(alias.name), alias.descriptor) << "aliases are written canonically";
  }
  EXPECT_EQ(canonical("kivi2:g64"), "kivi:k2v2,g64");
  EXPECT_TRUE(contains(refusal("kivi2:k4"), "kivi: k is given twice"));
}

TEST(Descriptor, RefusalsNameKeyValueAndTheNearest) {
  EXPECT_TRUE(contains(refusal("kvi:k2v2"), "unknown scheme 'kvi'; did you mean 'kivi'?"));
  EXPECT_TRUE(contains(refusal("kiiv"), "did you mean 'kivi'?"));
  EXPECT_TRUE(contains(refusal("fp16x"), "did you mean 'fp16'?"));
  EXPECT_TRUE(contains(refusal(""), "unknown scheme ''"));
  EXPECT_TRUE(contains(refusal("kivi"), "kivi: k (bits of a key code) is required"));
  EXPECT_TRUE(contains(refusal("kivi:k2"), "kivi: v (bits of a value code) is required"));
  EXPECT_TRUE(contains(refusal("fp"), "type (stored float format: f32, f16 or bf16) is required"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,proflie=paper"),
                       "unknown key 'proflie'; did you mean 'profile'?"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,profile=papre"),
                       "must be repo or paper, not 'papre'; did you mean 'paper'?"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,paper"), "did you mean 'profile=paper'?"));
  EXPECT_TRUE(contains(refusal("int:k4v4,smy"), "unknown item 'smy'; did you mean 'sym'?"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,x3"), "unknown key 'x' (keys: k, v, g, r or profile)"));
  EXPECT_TRUE(contains(refusal("kivi:k3v2"), "kivi: k must be 2, 4 or 8, not 3"));
  EXPECT_TRUE(contains(refusal("int:k9v2"), "int: k must be in 2 .. 8, not 9"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,r-1"), "kivi: r must be in 0 .. 1048576, not -1"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,k4"), "kivi: k is given twice"));
  EXPECT_TRUE(contains(refusal("kivi:k02v2"), "integer without leading zeros, not '02'"));
  EXPECT_TRUE(contains(refusal("kivi:k2.0v2"), "integer without leading zeros, not '2.0'"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,r99999999999999999999"), "not '99999999999999999999'"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,"), "empty item"));
  EXPECT_TRUE(contains(refusal("kivi:"), "empty item"));
  EXPECT_TRUE(contains(refusal("kivi:k2v"), "unknown item 'k2v'"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2 "), "unknown item"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2,profile3"), "unknown item 'profile3'"));
  EXPECT_TRUE(contains(refusal("kivi:k2v2)"), "parentheses do not balance"));
  EXPECT_TRUE(contains(refusal("kivi:(k2v2"), "parentheses do not balance"));
  EXPECT_TRUE(contains(refusal("kivi@2:k2v2"), "version 1 of kivi, not 'kivi@2'"));
  EXPECT_TRUE(contains(refusal("kivi:k2\nv2"), "control character at byte 7"));
  EXPECT_TRUE(contains(refusal(std::string(5000, 'k')), "longer than 4096"));
}

TEST(Descriptor, RefusalsOfValuesByKind) {
  for (const char* items : {"k4v0,o.5",
                            "k4v0,o00.5",
                            "k4v0,o1.5",
                            "k4v0,o=1e-3",
                            "k4v0,o=nan",
                            "k4v0,o=",
                            "k4v0,n-9",
                            "k4v0,n=-0",
                            "k4v0,n=+1",
                            "k4v0,g0",
                            "k4v0,cb=#0123ABCD",
                            "k4v0,cb=#12",
                            "k4v0,cb=",
                            "k4v0,cb=a(b)",
                            "k4v0,base=kivi2",
                            "k4v0,base=(kivi2",
                            "k4v0,base=(kivi2)x",
                            "k4v0,base=()",
                            "k4v0,base=(nothing)",
                            "k4v0,sym,sym",
                            "k4v0,e4m3,q8_0",
                            "k4v0,format=e4m4",
                            "k4v0,sym=1"}) {
    EXPECT_THROW(canonical_every(items), Error) << items;
  }
}

TEST(Descriptor, SchemesAreWellFormed) {
  for (const SchemeSchema& schema : schemes()) {
    std::set<std::string_view> names, flags;
    for (const KeySpec& key : schema.keys) {
      EXPECT_TRUE(names.insert(key.name).second) << schema.name << " " << key.name;
      EXPECT_FALSE(key.doc.empty()) << schema.name << " " << key.name;
      EXPECT_FALSE(key.required && !key.fallback.empty()) << schema.name << " " << key.name;
      if (key.kind != KeyKind::kFlag) continue;
      for (const std::string_view word : key.words) EXPECT_TRUE(flags.insert(word).second) << word;
    }
    EXPECT_EQ(find_scheme(schema.name), &schema);
  }
  // An alias may be a scheme's bare name, and then stands for a descriptor of that scheme.
  for (const Alias& alias : aliases()) {
    if (find_scheme(alias.name) == nullptr) continue;
    EXPECT_EQ(Descriptor::parse(alias.descriptor).name(), alias.name);
  }
}

TEST(Descriptor, BareNameOfASchemeAsAlias) {
  EXPECT_EQ(Descriptor::parse("fp8").str(), "fp8:e4m3");
  EXPECT_EQ(Descriptor::parse("fp8:e5m2").str(), "fp8:e5m2");
  EXPECT_EQ(Descriptor::parse("fp8_e5m2:scale=token").str(), "fp8:e5m2,scale=token");
  EXPECT_THROW(Descriptor::parse("fp8:scale=token"), Error);
}

TEST(Sweep, ExpandsLeftmostSlowest) {
  using Texts = std::vector<std::string>;
  EXPECT_EQ(expand_sweep("kivi:k2v2"), Texts{"kivi:k2v2"});
  EXPECT_EQ(expand_sweep("kivi:k{2,4}v{2,4}"),
            (Texts{"kivi:k2v2", "kivi:k2v4", "kivi:k4v2", "kivi:k4v4"}));
  EXPECT_EQ(expand_sweep("{f16,kivi:k{2,4}v4,int{8,4}}"),
            (Texts{"f16", "kivi:k2v4", "kivi:k4v4", "int8", "int4"}));
  EXPECT_EQ(expand_sweep("ott:base={(kivi:k2v2,g64),(f16)}"),
            (Texts{"ott:base=(kivi:k2v2,g64)", "ott:base=(f16)"}));
  EXPECT_EQ(expand_sweep("a{,b}"), (Texts{"a", "ab"}));
  EXPECT_EQ(expand_sweep("{a}"), Texts{"a"});
  for (const char* text : {"{", "}", "a{b", "a}b", "{a{b}", "{a}}", "}{"}) {
    EXPECT_THROW(expand_sweep(text), Error) << text;
  }
}

TEST(Sweep, IsLimited) {
  std::string text;
  for (int i = 0; i < 12; ++i) text += "{a,b}";
  EXPECT_EQ(expand_sweep(text).size(), 4096u);
  for (int i = 0; i < 800; ++i) text += "{a,b}";
  EXPECT_THROW(expand_sweep(text), Error);
  EXPECT_THROW(expand_sweep("{" + std::string(4000, '{')), Error);
  EXPECT_THROW(expand_sweep("{" + std::string(4097, ',')), Error);
}

TEST(Nearest, CountsNeighbourExchangesAsOneEdit) {
  const std::vector<std::string_view> words = {"kivi", "kvquant", "int"};
  EXPECT_EQ(nearest("kiiv", words), "kivi");
  EXPECT_EQ(nearest("kvqaunt", words), "kvquant");
  EXPECT_EQ(nearest("tni", words), "");
  EXPECT_EQ(nearest("x", words), "");
  EXPECT_EQ(nearest("", words), "");
  EXPECT_EQ(nearest(std::string(100000, 'k'), words), "");
}

// Random values of every key, as a list of items in random order.
std::vector<std::string> random_items() {
  using rc::gen::element;
  using rc::gen::inRange;
  std::vector<std::string> items;
  const auto maybe = [&](const std::string& item) {
    if (*rc::gen::arbitrary<bool>()) items.push_back(item);
  };
  items.push_back("k" + std::to_string(*element(2, 4, 8)));
  items.push_back("v" + std::to_string(*inRange(0, 17)));
  maybe(*element<std::string>("e4m3", "q8_0", "int3"));
  maybe("g" + std::to_string(*inRange<int64_t>(1, INT64_MAX)));
  maybe("n" + std::to_string(*inRange(-8, 9)));
  maybe("o0." + std::to_string(*inRange<int64_t>(0, INT64_MAX)));
  maybe("profile=" + *element<std::string>("repo", "paper"));
  maybe("sym");
  maybe("cb=" + *element<std::string>("#0123456789abcdef", "dir/file.bin", "a=b"));
  maybe("base=(" + *element<std::string>("f16", "kivi:k4v2,r0", "int:k3v5,kaxis=channel") + ")");
  for (size_t i = items.size(); i > 1; --i) {
    std::swap(items[i - 1], items[*inRange<size_t>(0, i)]);
  }
  return items;
}

RC_GTEST_PROP(DescriptorProperty, PrintedTextParsesToTheSame, ()) {
  std::string text;
  for (const std::string& item : random_items()) text += (text.empty() ? "every:" : ",") + item;
  const auto once = Descriptor::parse(text, every_kind());
  const auto twice = Descriptor::parse(once.str(), every_kind());
  RC_ASSERT(twice.str() == once.str());
  RC_ASSERT(twice == once);
  RC_ASSERT(Descriptor::parse(once.versioned(), every_kind()) == once);
  for (const char* key : {"k", "v", "g"}) RC_ASSERT(twice.get_int(key) == once.get_int(key));
  RC_ASSERT(twice.find_int("n") == once.find_int("n"));
  RC_ASSERT(twice.get_real("o") == once.get_real("o"));
  for (const char* key : {"format", "profile", "sym", "cb", "base"}) {
    RC_ASSERT(twice.get_word(key) == once.get_word(key));
  }
}

RC_GTEST_PROP(DescriptorProperty, GarbageIsParsedOrRefused, ()) {
  static const std::vector<std::string> kPieces = {
      "kivi", "every", "int", ":",       ",",     "=",   "(",  ")",   "{",
      "}",    "#",     "@",   "k2v2",    "k",     "v",   "g",  "r",   "o",
      "sym",  "e4m3",  "0",   "1",       "2",     ".",   "-",  "128", "base",
      "cb",   "\xff",  " ",   "profile", "paper", "f16", "@3", "n",   "99999999999999999999"};
  const auto picks =
      *rc::gen::container<std::vector<size_t>>(rc::gen::inRange<size_t>(0, kPieces.size()));
  std::string text = *rc::gen::element<std::string>("", "every:", "every:k4v0,", "kivi:k2v2,");
  for (const size_t pick : picks) text += kPieces[pick];
  const auto check = [&](const auto& parse) {
    try {
      const Descriptor descriptor = parse(text);
      RC_ASSERT(parse(descriptor.str()).str() == descriptor.str());
    } catch (const Error& error) {
      RC_ASSERT(error.exit() == Exit::kUsage);
      RC_ASSERT(std::string(error.what()).find('\n') == std::string::npos);
    }
  };
  check([](std::string_view t) { return Descriptor::parse(t); });
  check([](std::string_view t) { return Descriptor::parse(t, every_kind()); });
  try {
    for (const std::string& one : expand_sweep(text)) {
      RC_ASSERT(one.find_first_of("{}") == std::string::npos);
    }
  } catch (const Error& error) {
    RC_ASSERT(error.exit() == Exit::kUsage);
  }
}

RC_GTEST_PROP(DescriptorProperty, ArbitraryBytesAreParsedOrRefused, (const std::string& bytes)) {
  for (const std::string& text : {bytes, "kivi:k2v2," + bytes, "int:" + bytes}) {
    try {
      RC_ASSERT(canonical(canonical(text)) == canonical(text));
    } catch (const Error& error) {
      RC_ASSERT(error.exit() == Exit::kUsage);
    }
  }
}

}  // namespace
}  // namespace kvx
