#include <penstock/chunks.hpp>

#include <thread>
#include <vector>

#include "core_fixture.hpp"

namespace penstock::testing {
namespace {

Ref<Chunks> make_chunks() { return make_ref<Chunks>(std::string("maker")); }

TEST(ChunksTest, GivesWhatIsPushedAndThenTheEnd) {
  const auto chunks = make_chunks();
  EXPECT_FALSE(chunks->take());
  chunks->push(number(1));
  chunks->push(number(2));
  chunks->end();
  EXPECT_EQ(thing(*chunks->take()->chunk).value, 1);
  EXPECT_EQ(thing(*chunks->take()->chunk).value, 2);
  const auto last = chunks->take();
  ASSERT_TRUE(last);
  EXPECT_FALSE(last->chunk);
  EXPECT_FALSE(last->failure);
}

TEST(ChunksTest, GivesAFailureBehindWhatCameBefore) {
  const auto chunks = make_chunks();
  chunks->push(number(1));
  chunks->fail(Failure{"s", 500, "KeyError", "x", {}});
  EXPECT_TRUE(chunks->take()->chunk);
  EXPECT_EQ(chunks->take()->failure->kind, "KeyError");
}

TEST(ChunksTest, ResumesTheMakerWhenTheChunkUnderWayIsOver) {
  const auto chunks = make_chunks();
  int resumed = 0;
  auto chunk = std::make_unique<Chunk>(chunks);
  chunks->next([&] { ++resumed; });
  EXPECT_EQ(resumed, 0);
  chunk.reset();
  EXPECT_EQ(resumed, 1);
  chunks->next([&] { ++resumed; });
  EXPECT_EQ(resumed, 2);
}

TEST(ChunksTest, HoldsTheMakerWhileTheReaderIsBehind) {
  const auto chunks = make_chunks();
  for (std::size_t i = 0; i < Chunks::kAhead; ++i) chunks->push(number(1));
  int resumed = 0;
  chunks->next([&] { ++resumed; });
  EXPECT_EQ(resumed, 0);
  EXPECT_TRUE(chunks->take());
  EXPECT_EQ(resumed, 1);
}

TEST(ChunksTest, ResumesTheMakerWhenNobodyReadsOn) {
  const auto chunks = make_chunks();
  const Chunk under_way(chunks);
  bool resumed = false;
  chunks->next([&] { resumed = true; });
  EXPECT_FALSE(chunks->over());
  chunks->cancel();
  EXPECT_TRUE(resumed);
  EXPECT_TRUE(chunks->over());
}

TEST(ChunksTest, TellsAReaderWhenThereIsSomething) {
  const auto chunks = make_chunks();
  int ready = 0;
  chunks->on_ready([&] { ++ready; });
  EXPECT_EQ(ready, 0);
  chunks->push(number(1));
  chunks->push(number(2));
  EXPECT_EQ(ready, 1);
  chunks->on_ready([&] { ++ready; });
  EXPECT_EQ(ready, 2);
}

TEST(ChunksTest, EndsWithTheLastChunkUnderWayWhenNoMoreAreMade) {
  const auto chunks = make_chunks();
  auto chunk = std::make_unique<Chunk>(chunks);
  chunks->no_more();
  EXPECT_FALSE(chunks->take());
  chunk.reset();
  EXPECT_TRUE(chunks->take());
}

TEST(ChunksTest, PassesAllOnBetweenThreads) {
  const auto chunks = make_chunks();
  constexpr int kCount = 2000;
  std::thread maker([&] {
    for (int i = 0; i < kCount; ++i) {
      {
        const Chunk chunk(chunks);
        chunks->push(number(i));
      }
      Signal wanted;
      chunks->next([&] { wanted.set(); });
      ASSERT_TRUE(wanted.wait());
    }
    chunks->end();
  });
  std::vector<int> read;
  for (;;) {
    const auto item = chunks->take();
    if (!item) {
      auto ready = std::make_shared<Signal>();
      chunks->on_ready([ready] { ready->set(); });
      ASSERT_TRUE(ready->wait());
    } else if (item->chunk) {
      read.push_back(thing(*item->chunk).value);
    } else {
      break;
    }
  }
  maker.join();
  ASSERT_EQ(read.size(), static_cast<std::size_t>(kCount));
  for (int i = 0; i < kCount; ++i) EXPECT_EQ(read[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace penstock::testing
