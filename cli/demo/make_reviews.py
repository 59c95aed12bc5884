#!/usr/bin/env python3
"""Makes reviews.csv: short Chinese food-delivery and hotel reviews for the demo, labelled 好评 or 差评.

Every text is composed from the tables below by a seeded generator; none is taken from a data set, and no
real shop or person is named. The same script always writes the same bytes.

    python3 make_reviews.py            # writes reviews.csv beside this script and prints a summary
    python3 make_reviews.py OTHER.csv  # writes there instead

How to read the tables: entries are separated by white space (an underscore stands for a space), [a/b/c]
is a choice, {name} a slot. An entry that begins with ! is too strong to be conceded ("虽然…，但是…").
"""
import csv
import random
import re
import statistics
import sys
import unicodedata
from pathlib import Path

SEED = 20240607
WANTED = {"好评": 3000, "差评": 2600}
RNG = random.Random(SEED)  # only .random() is used: its sequence is the same in every Python version


def words(text):
    return [w.replace("_", " ") for w in text.split()]


SLOTS = {k: words(v) for k, v in {
    "long": "40多分钟 50分钟 五十分钟 一个小时 一个多小时 1个半小时 1个小时 俩小时 两个小时 2个多小时 一个半小时 70分钟 快1小时 90分钟",
    "mid": "20分钟 25分钟 二十分钟 不到半小时 半小时不到 18分钟 二十多分钟",
    "short": "5分钟 十分钟 10分钟 十来分钟 15分钟 一刻钟 十几分钟 20分钟",
    "near": "3分钟 5分钟 五分钟 两分钟 几分钟 7分钟",
    "times": "两 三 3 四 5 好几", "nth": "二 三 2 3 四 5 N", "few": "两 三 2 3 四",
    "price": "15 18 20 22 二十 25 26 28 三十多 32 35 39.9 45 48",
    "hprice": "168 199 两百多 238 260 300 三百多 358 458 五百多 599",
    "clock": "7点半 8点 八点 九点 9点", "late": "1点 一点多 两点 2点多 三点 12点",
    "floor": "六 6 七 5 五", "dozen": "十几 20多 二十多 30多",
    "who": "同事 朋友 室友 家人 闺蜜 邻居",
    "poi": "地铁站 火车站 高铁站 机场 景区 海边 步行街 医院 会展中心 大学城 古镇 夜市 汽车站 商场 体育馆 码头 公园",
    "room": "大床房 双床房 标间 家庭房 亲子房 海景房 商务房 套房 特价房 榻榻米房 高层大床 三人间 江景房 阳台房",
}.items()}

# kind of dish: dishes / good adjectives / bad adjectives / phrase groups that fit
KINDS = {k: tuple(words(part) for part in v.split("|")) for k, v in {
    "rice": "黄焖鸡米饭 红烧肉盖饭 鱼香肉丝盖饭 卤肉饭 咖喱鸡饭 煲仔饭 扬州炒饭 蛋炒饭 烤肉拌饭 石锅拌饭 叉烧饭 烧鸭饭 猪脚饭 鸡腿饭 牛腩饭 排骨饭|好吃 入味 香 下饭|难吃 油腻 干|solid savory warm rice",
    "noodle": "牛肉面 炸酱面 担担面 重庆小面 酸辣粉 螺蛳粉 桂林米粉 热干面 刀削面 油泼面 过桥米线 肥肠粉 鸭血粉丝 羊肉粉 番茄鸡蛋面 排骨面 干拌面 阳春面|好吃 劲道 入味 地道 正宗|难吃 油腻 坨|solid savory warm noodle",
    "stir": "宫保鸡丁 回锅肉 麻婆豆腐 糖醋里脊 干锅花菜 地三鲜 番茄炒蛋 小炒肉 辣子鸡 鱼香茄子 酸辣土豆丝 红烧茄子 蒜苔炒肉 青椒肉丝 葱爆羊肉 孜然牛肉|好吃 入味 下饭 地道|难吃 油腻 油|solid savory warm stir",
    "fried": "炸鸡 鸡排 薯条 炸鸡翅 炸串 锅包肉 鸡米花 炸鸡腿 小酥肉 炸鱿鱼 炸里脊|好吃 香 酥脆 脆|难吃 油腻 柴 硬|solid savory warm fried",
    "bun": "小笼包 水饺 馄饨 锅贴 生煎 烧麦 蒸饺 鲜肉包 灌汤包 抄手 煎饺|好吃 鲜 香|难吃 腻 腥|solid savory warm bun",
    "cake": "煎饼果子 手抓饼 肉夹馍 鸡蛋灌饼 酱香饼 葱油饼 鸡蛋饼 卷饼|好吃 香 酥脆|难吃 油腻 硬|solid savory warm cake",
    "bbq": "羊肉串 牛肉串 烤鱼 烤鸡翅 烤五花肉 烤排骨 掌中宝 烤羊排 烤鸭 烤鸡|好吃 香 入味 嫩|难吃 柴 老 油腻|solid savory warm bbq",
    "hot": "麻辣烫 冒菜 麻辣香锅 小火锅 串串 酸菜鱼 水煮鱼 毛血旺 麻辣拌 水煮肉片|好吃 香 过瘾 鲜|难吃 油 油腻|solid savory warm hot",
    "west": "牛肉汉堡 鸡腿堡 披萨 意面 鸡肉卷 三明治 沙拉 牛排 焗饭 寿司 热狗 饭团|好吃 新鲜 香|难吃 干 腻|solid west",
    "sweet": "双皮奶 蛋挞 芝士蛋糕 提拉米苏 泡芙 慕斯 麻薯 蛋黄酥 千层蛋糕 布丁 雪媚娘 华夫饼|好吃 细腻 香甜|难吃 甜腻 粗糙|solid sweet",
    "drink": "奶茶 柠檬茶 水果茶 杨枝甘露 酸梅汤 椰奶 拿铁 豆浆 西瓜汁 芋泥奶茶 冰美式 绿豆沙 双拼奶茶|好喝 清爽 香|难喝 腻 甜腻|drink",
    "porridge": "皮蛋瘦肉粥 小米粥 八宝粥 南瓜粥 海鲜粥 红豆粥 牛肉粥 玉米粥 青菜粥 山药粥|好喝 浓稠 香 暖胃|难喝 稀 淡|warm porridge",
}.items()}

# aspect: subjects / good adjectives / bad adjectives (the dish's adjectives come from KINDS)
ASPECTS = {k: tuple(words(part) for part in v.split("|")) for k, v in {
    "dish": "{dish} 他家{dish} 这家的{dish} 这{dish}||",
    "taste": "味道 口味 整体味道 整体口味 {dish}味道|好 地道 棒 香 正宗|差 怪 糟糕",
    "delivery": "送得 送餐 配送 外卖送得 骑手送得 小哥送得 出餐|快 及时|慢",
    "portion": "分量 份量 量 给的量|足 大|少 小",
    "price": "价格 价钱 他家价格 这个套餐|实惠 划算 合理 便宜|贵 坑",
    "service": "服务 商家服务 老板态度 店家态度 客服态度 服务态度|好 热情 友善|差 冷淡 敷衍",
    "food": "食材 用料|新鲜 好 讲究 实在|差 廉价",
    "pack": "包装 打包 餐盒 外包装|严实 精致 用心 结实|简陋 敷衍 差",
    "room": "房间 {room} 客房 屋里|大 宽敞 干净 整洁 舒服 舒适 温馨 明亮|小 旧 脏 乱 破 暗 潮湿",
    "sound": "隔音 隔音效果 房间隔音|好|差",
    "quiet": "晚上 夜里 周围 整晚|安静 清净|吵 闹",
    "breakfast": "早餐 早饭 自助早餐 酒店早餐|丰富 好吃 可口 新鲜|单调 难吃 简单 寒酸",
    "desk": "前台 前台态度 前台小姐姐 服务员 前台服务 服务员态度|热情 客气 亲切 专业|冷淡 敷衍 傲慢",
    "place": "位置 地段 地理位置 酒店位置|好 方便 好找|偏 难找 尴尬",
    "bed": "床 床垫 床铺 大床|舒服 软和 干净|硬 脏 旧",
    "bath": "卫生间 浴室 淋浴间 洗手间|干净 宽敞 整洁|脏 小 旧 臭",
    "rate": "价格 房价 房费|实惠 划算 合理 便宜|贵 高",
    "kit": "设施 装修 硬件 设备|新 好 高档|旧 老 差",
    "wifi": "wifi WiFi 网络 网速 无线网|快 稳定|慢 卡 差",
}.items()}

FRAMED, FLIPPED = 0.42, 0.24  # how often a clause is an adjective in a frame, and how often that frame is a negation
FOOD = words("dish dish dish taste taste delivery delivery portion price service food pack")
HOTEL = words("room room room sound quiet breakfast desk desk place place bed bath rate kit wifi")
SAME = [{"dish", "taste", "food"}, {"sound", "quiet", "bed"}, {"room", "kit"}]  # never two of these in one review
CORE = words("dish taste room desk place bed quiet")  # a good word on these outweighs a conceded fault
YIELD = words("delivery pack portion price service breakfast place rate kit wifi sound bath")  # faults one may concede

# Adjective frames: {A} an adjective of the same sign as the clause (DIRECT) or of the other sign (NOT_BAD, NOT_GOOD), {S} the subject
DIRECT = words("{S}很{A} {S}很{A} {S}很{A} {S}很{A} {S}挺{A}的 {S}挺{A}的 {S}真{A} {S}真{A} {S}真的很{A} {S}非常{A} {S}非常{A} {S}特别{A} {S}特别{A} {S}超{A} {S}超级{A} {S}蛮{A}的 "
               "{S}相当{A} {S}太{A}了 {S}太{A}了 {S}太{A}了 {S}贼{A} {S}确实{A} {S}真的{A} {S}比想象中[还/]{A} {S}比预期{A} {S}不是一般的{A} !没想到{S}这么{A} !{S}[竟然/居然]这么{A} !{S}怎么这么{A} {S}{A}得[很/不行] {S}巨{A} {S}是真{A}")
NOT_BAD = words("{S}一点都不{A} {S}一点也不{A} {S}不{A} {S}并不{A} {S}没有想象中[那么/]{A} {S}没有[评论里/别人/网上]说的那么{A} {S}没想象的[那么/]{A} {S}也不{A} {S}完全不{A}")
NOT_GOOD = words("{S}一点都不{A} {S}一点也不{A} {S}不{A} {S}没有想象中[那么/]{A} {S}没有[评论里/别人/网上]说的那么{A} {S}不是很{A} {S}不是很{A} {S}不怎么{A} {S}不太{A} {S}不够{A} {S}并不{A} {S}算不上{A} {S}谈不上{A} !{S}哪里{A}了 !{S}根本不{A} !{S}能不能{A}一点")
MINOR = {"bad": words("{S}有点{A} {S}稍微{A}了点 {S}略{A} {S}{A}了一点 {S}有些{A}"), "good": words("{S}不算{A} {S}不算很{A} {S}不是特别{A}")}
VERSUS = {"same": words("{S}比[上次/之前/别家]{A}多了 {S}还是[一如既往的/那么]{A} {S}[越来越/比以前更]{A}了 {S}比[上回/前几次]还{A}"),
          "flip": words("{S}没有[上次/以前/之前]那么{A}了 {S}不像[上次/之前]那么{A}")}

# Whole clauses by aspect: praise / fault / small fault. "aspect+group" only for dishes of that group.
PHRASES = {k: tuple(words(part) for part in v.split("|")) for k, v in {
    "dish": "[全/都]{eat}光了 [一口气/三两下]就{eat}完了 越{eat}越[想{eat}/上瘾] [孩子/{who}/老人]也[说好{eat}/爱{eat}/夸好] {who}都说不错 !没[踩雷/翻车] !从没{eat}过这么好{eat}的{dish} !好{eat}[到哭/到跺脚/到停不下来/得不得了] 有[小时候/家]的味道 {dish}没得[说/挑] "
            "不比店里[现做的/堂食]差 {eat}得一点没剩 !{dish}天花板 !yyds !绝绝子 味道[ok/还是可以的/在线/不错] {dish}[味道不错/挺对胃口/没让人失望]|{eat}了[两口/一口]就[扔了/放下了/不想{eat}了] !难以下咽 !没法{eat} [跟图片/跟描述/和照片][完全/根本]不[一样/符] "
            "!从没{eat}过这么难{eat}的{dish} 踩雷了 大翻车 !好{eat}[在哪/个啥/什么呀] !哪有[评论/别人]说的好{eat} 也就图片[好看/看着好{eat}] 没有一点[味道/滋味] !{dish}做成这样[也是本事/我也是服了] 味道[一般/一言难尽/不敢恭维/说不上来的怪] {dish}[一般般/味道不对/差点意思/不合胃口]|"
            "味道[偏淡/淡了点/还能再好点/略清淡] {dish}[稍微淡了点/偏甜]",
    "dish+solid": "吃[不腻/得很满足/得干干净净] 吃完还想吃||",
    "dish+savory": "咸淡[刚好/适中] 调味[很到位/刚刚好]|还不如[自己做的/泡面/食堂/楼下小摊]好吃 [咸得/齁咸][发苦/要命] 盐不要钱似的|[咸了/辣了/油了][点/一点] 有点[咸/油/辣] 偏[咸/油]",
    "dish+rice": "米饭[粒粒分明/软硬刚好/很香] 配菜也不少 拌着汤汁[能吃两碗/特别香]|米饭[夹生/硬得像石子/糊成一团/是冷的] 没几块肉 [一股/就是]料理包味 肉又老又柴|米饭[硬了点/有点软]",
    "dish+noodle": "汤[很鲜/很浓/都喝光了] 浇头[很足/给得多] 送到也没坨|[全坨了/坨成一团/送到都坨了] 汤[像白开水/没味道/上一层油] 煮得太烂 浇头就一小勺|[有点坨/稍微坨了一点] 汤淡了点",
    "dish+stir": "火候[刚好/掌握得好] 锅气足 配米饭绝了|全是油 炒糊了 半生不熟 配菜比主料多|油[大了点/稍多]",
    "dish+fried": "外酥里嫩 送到还是脆的 一点都不柴 蘸料也好吃|皮都软了 [油乎乎的/一股陈油味] 里面没熟 炸得发黑 咬不动|皮有点软了 炸得稍微老了点",
    "dish+bun": "皮薄馅[大/足] 馅料很鲜 咬一口满嘴香|皮[厚得要命/破了好几个] 全粘在一起 馅[少得可怜/没味/发腥]|皮稍微厚了点 破了一个",
    "dish+cake": "饼皮[酥脆/很香] 料夹得满满的|饼皮[又厚又硬/软塌塌的] 里面没什么料 一口咬下去全是面|饼皮有点软了",
    "dish+bbq": "烤得[刚刚好/外焦里嫩/很香] 调料撒得很均匀 肉很嫩|烤[糊了/得发黑] 又[柴/硬]又干 没几口肉 一股腥味|烤得[稍微有点老/有点焦]",
    "dish+hot": "汤底[很香/很鲜/够味] 配菜[新鲜/种类多] 够麻够辣|光辣不香 汤底像水 菜[没煮熟/煮烂了] 菜叶都黄了 一层辣油|[麻味/辣味]差了点",
    "dish+west": "料很足 酱料很搭 分量和味道都在线|又冷又硬 酱料一股怪味 干巴巴的|酱[少了点/有点多]",
    "dish+sweet": "入口即化 甜而不腻 奶味[很浓/浓郁] 卖相也好|甜得发腻 口感[粗糙/像橡皮/发硬] 送到都[塌了/散了] 一看就不是当天做的|稍微甜了点 外形压[坏/歪]了一点",
    "dish+drink": "甜度刚好 冰量刚好 喝着[清爽/解渴] 不会太甜|一大半是冰 一股香精味 甜得发齁 淡得像白开水 冰都化完了|稍微甜了点 冰多了点 冰化了一些",
    "dish+porridge": "熬得[很稠/软糯/刚刚好] 喝完胃里暖暖的 料很足|稀得像水 米都没熬开 糊味很重 清汤寡水|稍微稀了点 料少了点",
    "delivery": "比预计[时间/]早到了{short} {mid}就[送到了/到了] [骑手/小哥]很准时 下大雨还准时送到 [小哥/骑手][爬{floor}楼/顶着太阳]送上来 没等多久就到了 送到还打了电话 饭点也没让我等 骑手[态度很好/很有礼貌] 配送没掉链子|等了{long} [整整/足足]等了{long} 等了{long}才[到/送来] [催了/催单]{times}次才送 "
                "骑手[放楼下就走了/不肯送上楼/态度差] 比预计晚了{long} 送错[地址/楼]了 !等到最后直接给取消了 !人没到就先点了送达 骑手电话打不通 说好半小时结果等了{long}|晚了{short} 稍微[晚/慢]了点 等得[有点久/久了点] 催了一次",
    "delivery+warm": "到手还是[热乎/热/烫]的 送到还冒着热气|送到[都凉了/已经凉透了/都不热了] !拿到手是凉的|到的时候[不太热了/有点凉了]",
    "portion": "料给得[很足/很多] 满满[当当/的料] 还送了[小菜/饮料/水果/小零食] 一份顶别家两份|料少得可怜 几口就没了 越来越缩水 实物[比图片小一半/和图片差太多]|[分量/量][少了点/略少/偏少] 量[小了点/不算多]",
    "portion+solid": "一个人[吃不完/根本吃不完] 两个人吃[都够/刚刚好] [吃得很撑/吃撑了] 满满一大盒|一个人都不够吃 根本吃不饱 吃完还是饿 盒子里一半是空的|男生吃可能不够 要是再多点就好了",
    "price": "{price}块[值了/很值/没得挑] 用券才{price}块 性价比[很高/超高/没得说] 物美价廉 学生党也点得起 满减下来[很划算/没多少钱]|{price}块就[这/给这么点] !完全不值这个价 !性价比[太低/不高/几乎没有] 又涨价了 [配送费/打包费]贵得离谱 !{price}块打水漂了 !有这钱不如[自己做/去楼下买]|"
             "[价格小贵/稍微贵了一点] 价格不算便宜 打包费有点贵 没什么优惠",
    "service": "老板[人很好/会做生意/很实在] 备注[都看了/的要求都做到了] 漏了东西[马上就补送/秒退款/立刻给补了] 有问题[马上处理/一下就解决] 还手写了小纸条 客服[处理得很快/很耐心] 客服没有不耐烦|"
               "备注[不看/写了等于没写/从来不看] [漏/少]了一样也不[补/管] [商家/店家]电话没人接 找客服[一直没人理/踢皮球/只会说抱歉] [商家/客服]爱答不理 !送错了还不给退 有问题没人处理|忘了给[吸管/纸巾/餐具] 备注没看到 回消息有点慢",
    "food": "{eat}[着放心/着安心/完肚子没事] 看着就干净 没{eat}出什么脏东西 料都是新鲜的|!{eat}出[一根头发/头发/虫子/塑料片/小石子] !里面有[苍蝇/虫子/头发] !{eat}完[拉肚子/拉了一天/闹肚子] 有股怪味 一看就[不新鲜/是隔夜的/是剩的]|不算特别新鲜",
    "pack": "[包装/打包]一点没漏 密封得很好 还用了保温袋 餐盒质量很好 盒子舍不得扔 一点没洒|盖子[都没盖好/松了/开了] 袋子破了 餐盒[漏了/压扁了/裂了] 盒子[一捏就变形/有股塑料味] 打开一片狼藉 洒了一半|包装[简单了点/漏了一点/有点简陋] 洒了一点 盒子压扁了一点",
    "room": "窗外能看到[海/江/山/夜景] 采光[很好/不错] 屋里没有[异味/烟味/霉味] 东西一应俱全 打扫得[很干净/很细致] 房间跟照片一样 !免费升级了{room} 房间没什么可挑的|房间一股[霉味/烟味/下水道味] 房间没有窗户 墙皮都掉了 空调[不制冷/不制热/滴水/坏了] [地毯/地上][全是灰/有头发] 房间跟照片[完全不一样/差太多/两回事] "
            "!房间里有[蟑螂/虫子/蚂蚁] 打扫得[不干净/很敷衍/马马虎虎] 电视打不开|房间[小了点/略小/有点旧/有点潮/有点味道] 空调声音有点大 窗户有点小",
    "sound": "听不到[外面的声音/隔壁] 一觉睡到[天亮/{clock}] 临街但不吵 没被吵醒|隔壁[打呼/说话/咳嗽/看电视]听得[一清二楚/清清楚楚] !走廊[说话/拖箱子]声响了一夜 [半夜/凌晨{late}]被吵醒 ![一夜/整晚]没睡[着/好] !楼下[烧烤摊/施工]闹到{late}|隔音[一般/稍差] 临街[有点吵/略吵] 偶尔能听到[走廊/隔壁]的声音",
    "breakfast": "早餐[种类多/花样多/有{dozen}种/每天不重样/中西都有/的面条现做] [孩子/老人]爱吃早餐|早餐[就两样/没什么可吃的/全是凉的/{clock}就没了/像剩的/要排队半小时] 早餐的豆浆像水 早餐鸡蛋都是凉的|早餐[一般/种类少了点/品种不多/可以再丰富点]",
    "desk": "[入住/退房]很快 办入住不用排队 前台主动提行李 给延迟退房了 送了[水果/牛奶/小零食/姜茶] 半夜到店也有人接待 打电话两分钟就来 落下的[充电器/外套]还给寄回来 有问题[马上解决/随叫随到]|"
            "办入住[等了/排队]{long} 前台[爱答不理/头都不抬/一问三不知/推来推去] 打前台电话[没人接/半天没人来] 押金[拖着不退/{few}天没退] 订好了又说没房 !半夜有人刷卡进来 叫了{times}次才送毛巾 开发票等半天|办入住[慢了点/等了{short}] 前台[有点忙不过来/反应有点慢] 退房排了会儿队",
    "place": "[下楼/出门]就是{poi} 离{poi}[很近/走路{near}/就几步路] 去{poi}[很方便/打车起步价] [吃饭/逛街/买东西/坐车]都方便 [周边/楼下]吃的很多 楼下有便利店 停车[方便/免费] 离{poi}不远|"
             "离{poi}[十万八千里/太远/一点都不近] 司机绕了{few}圈才找到 周边[什么都没有/一片荒凉] 吃饭要走[半小时/{short}] 停车[还要收费/根本没位置] 说离{poi}很近其实要走[半小时/40分钟]|位置有点[偏/难找] 离{poi}[有点/稍微有点]远 入口不太好找 停车有点挤",
    "bed": "[一躺下就睡着了/躺上就不想起] 睡得[很香/很沉/特别踏实] 床[软硬适中/又大又软/够大] 被子很暖和|床[一翻身就响/塌了一块/硬得像板子] 床单[有污渍/有头发/发黄/没换] 枕头有股味道 被子[一股味/潮乎乎的] 睡得腰酸背痛|枕头[有点高/高了点/偏软] 床[偏软/有点硬/小了点]",
    "bath": "热水[很足/来得快] 水压大 洗漱用品很全 毛巾很干净|热水[忽冷忽热/放半天才热] !热水根本不热 下水道[堵了/返味] 马桶[漏水/堵了] 花洒[坏了/水小得可怜] 毛巾[发黄/有味] 卫生间一股味|水压[小了点/不太稳] 热水来得有点慢 卫生间有点挤 毛巾有点旧",
    "rate": "{hprice}块[很值/值了] 性价比[很高/超高/没得说] 这个价位没得挑|{hprice}块[就这/不值/住成这样] !性价比[太低/不高] 一到周末就乱涨价 !完全不值这个价 !有这钱不如住民宿|价格[小贵/不算便宜/稍高]",
    "kit": "智能窗帘很好用 投影效果不错 电梯很快 插座床头就有 该有的都有|电梯[坏了/晃得吓人/等了{short}] 插座[没电/松了] 门锁关不严 遥控器失灵|设施[有点老/旧了点] 电梯有点慢 插座少了点",
    "wifi": "wifi[满格/很稳] 打游戏不卡 视频会议不卡|wifi[连不上/老掉线/时有时无] 网卡成ppt|wifi[有点慢/偶尔掉线]",
}.items()}

OPEN = {"food": words("[中午/晚上/早上/昨晚/昨天/今天/周末/加班/半夜/夜宵]点的{dish} [中午/晚上/今天/昨天/刚才]点的 第一次点[这家/他家] {who}推荐的 看[评分/评论/图片/销量]不错[点的/就点了] "
                      "给[孩子/爸妈/同事]点的 点了{dish} 点了{dish}和{dish2} 下雨天懒得出门 凑单点的 和{who}拼单 不知道吃啥随便点的 用券点的 公司附近的店 老顾客了 点过[{times}次/好几回]了 经常点[这家/他家] 收到了 冲着{dish}来的 新店尝鲜 等会儿要开会，点了份{dish} {dish} 今天{who}生日点的 搬家第一顿 图近点的"),
        "hotel": words("出差住了{few}晚 出差住的 [带孩子/带爸妈/和朋友/和闺蜜/一家人]来玩 订的{room} 住的{room} [国庆/五一/春节/周末/暑假]入住的 半夜到的 赶早班机住一晚 看[评分/图片/评论]订的 公司安排的 "
                       "临时订的 提前{few}天订的 住了{few}晚 [考试/看演唱会/看病/开会]订的 第{nth}次住了 第一次住[这家/这里] {who}推荐的 酒店在{poi}旁边 刚退房 陪{who}过来的 打折时囤的 中转住一晚")}
ASIDE = words("说实话 怎么说呢 讲真 不吹不黑 真的 哎 天呐 我的天 啊啊啊 救命 家人们 实话实说 emmm 老实说 大家看清楚 额 反正 简单说两句 实名评价 OMG")
VERDICT = {  # by domain and sign
    ("food", 1): "下次还点 下次还来 还会再点 还会[回购/再来] 会继续点 [已经/果断]收藏了 再也不点别家了 认准这家了 会常点的 不点后悔 明天接着点 老板生意兴隆 感谢[老板/商家] 可以闭眼入 下次不换别家了 回购[无数次/预定]",
    ("hotel", 1): "下次还住 下次还来 还会再来 还会[再住/选择] 下次来还订这 再也不换别家了 [已经/果断]收藏了 住得[舒心/开心/踏实] 不住后悔 下次不换别家了 宾至如归 还想多住一晚 感谢前台 出差[首选/就住这了] 没住够",
    ("both", 1): "推荐 [强烈/非常/值得/放心]推荐 [值得/可以]一试 五星好评 必须好评 好评 没毛病 没理由不推荐 不给好评说不过去 没让我失望 一点都不后悔 一点不失望 已经推荐给{who}了 爱了爱了 比预期好 [总体/整体/总的来说]"
                 "[满意/很满意/不错/挺好/ok] 瑕不掩瑜 不影响好评 这次不亏 nice very_nice good perfect not_bad 给个赞 赞一个 满意 不踩雷 挑不出毛病 差评的人怎么想的 五分 体验[不错/很好/不差] 给满分 种草了 没白花钱 不算失望",
    ("food", -1): "[不会/不想/绝对不会]再点了 再也不点了 下次不点了 下次换别家 还是点别家吧 没有下次了 [点一次/一次]就够了 谁点谁后悔 后悔点了 浪费[钱/粮食] 心情都没了 还是自己做吧 申请退款了 不值得再点 一星给骑手 以后不点他家了 别点",
    ("hotel", -1): "[不会/不想/绝对不会]再住了 再也不来了 下次不住了 下次换别家 没有下次了 住一次就够了 谁住谁后悔 后悔订了 半夜想退房 [第二天/当晚]就换酒店了 不值得再来 以后不订这家了 住得[憋屈/闹心/不踏实] 还不如睡车里 别订",
    ("both", -1): "不推荐 [一点也/一点都/强烈/实在]不推荐 果断拉黑 差评 必须差评 给一星都多 想给好评都难 给不了好评 好评[是刷的吧/怎么来的] 很失望 太失望了 [大家/姐妹们]避雷 避雷 劝退 钱白花了 [总体/整体/总的来说][不满意/很失望/不行/很一般/不ok] "
                  "越想越气 没什么值得夸的 满意不起来 五分给不出手 对不起这么高的评分 pass bad no no_no_no 体验[很差/不好/极差] 就这还推荐 拔草了 亏了 不值 无语 没有一点满意的 不会推荐给{who} 失望",
}
HOPE = words("希望[能改进/改进一下/越来越好/重视一下] [建议/希望]改进 加油吧")
MIX = {  # {X} is conceded, {Y} decides
    0: words("虽然{X}，但[是/]{Y} {X}，不过{Y} {X}，但是{Y} {X}，但{Y} {X}，可是{Y} 虽说{X}，{Y} 尽管{X}，{Y}"),
    1: words("{X}，好在{Y} {X}，幸好{Y} {Y}，{X}也能接受 虽然{X}，但是{Y} {X}，但{Y} {X}，不过{Y}"),
    -1: words("{X}，可惜{Y} {X}，只是{Y} {X}，结果{Y} {X}有什么用，{Y} 虽然{X}，但是{Y} {X}，但{Y} {X}，不过{Y}"),
}
COMPARE = {1: words("上次{X}，这次{Y} 之前{X}，这回{Y} 本来以为{X}，没想到{Y} 前{few}次{X}，这次{Y}"),
           -1: words("上次{X}，这次{Y} 以前{X}，现在{Y} 本来以为{X}，没想到{Y} 前{few}次{X}，这次{Y}")}
IRONY = {k: words(v) for k, v in {
    ("food", -1): "谢谢商家帮我减肥，[一口都{eat}不下/{eat}一口就饱了] 送得真快，才{long}而已 厉害了，{dish}能做出洗碗水的味道 太贴心了，怕我撑着就给[两口/一点点] 五星好评，如果满分是一百星的话 好{eat}得我一口就扔了 "
                  "服务真好，电话都不用接的 真棒，[汤/一半]全给袋子喝了 感谢骑手带我的{dish}环城游了{long} 骑手是走路来的吧，{long} 成功让我爱上了[泡面/自己做饭] 真会做生意，一份{dish}分三份卖 "
                  "“好{eat}”，[呵呵/懂的都懂] 可以的，{price}块买个教训 这{dish}真“地道”，地道里捡的吧 恭喜老板，成功劝退老顾客 真够[新鲜/热乎]的，冰箱里刚拿出来 {dish}很好，下次别做了",
    ("hotel", -1): "隔音真好，隔壁聊什么我都能背下来 感谢酒店，让我听了一夜装修 五星级的价格，招待所的享受 wifi很好，下次别装了 空调很智能，想停就停 蟑螂都是免费送的，真大方 海景房，窗户缝里能看见一厘米海 前台很高冷，[问三句回一个字/头都不抬] "
                   "早餐真丰富，有白粥和稀饭两种 床很有个性，翻身会唱歌 热水很养生，全程温的 窗户真好，打开就是墙 {hprice}块的{room}，就当交学费了 位置绝佳，离哪儿都{long} {room}真大，转身都困难 真安静，打前台电话都没人出声",
    ("food", 1): "唯一的缺点就是太好{eat}，害我胖了{few}斤 差评！好{eat}得停不下来，减肥又失败了 [商家/老板]太过分了，给这么多谁{eat}得完 气死我了，这么好{eat}怎么才发现 骑手太快了，手都没洗就到了 能不能别这么好{eat}，钱包受不了 "
                 "不想给好评，怕人多了要排队 千万别点，点了就戒不掉 {dish}太坏了，天天勾引我点 怪我，{dish}只点了一份 不好{eat}你来找我 后悔了，后悔没多点一份{dish}",
    ("hotel", 1): "缺点是床太舒服，早上起不来 孩子赖着不肯走，酒店要负责 害我差点误了早班车，睡得太死 不想写好评，怕下次订不到房 住完回家嫌自己家床硬 差评，窗外太好看光顾着拍照 早餐太丰富，裤腰带松了两格 后悔了，后悔只订了{few}晚 唯一的遗憾是没住够",
}.items()}
SHORT = {1: words("好吃！ 好。 不错 很好 可以 还行，推荐 满意 赞！ 👍赞 好喝 nice！ 很棒 好评！ 完美 ok的 不难吃 不错不错 真香 香！ 超赞 喜欢 很快 挺好 棒棒哒 舒服 干净 五星 好次！ 没毛病 good! 值 太好吃了 绝了 不贵 不差 "
                  "没失望 很满意 还会来 还不错哦 味道好 速度快 房间好 没话说 可以可以 好吃不贵 良心 非常好！ 回购 一级棒 好得很 不亏 妙啊 爱了 666 安静 位置好 房间大"),
         -1: words("差。 难吃 不好吃 差评 太差 垃圾食品 慢！ 太慢了 失望 无语 不行 不好 一般 就那样 呵呵 bad 坑！ 太咸 不推荐 贵 凉了 冷的 没熟 不新鲜 不值 脏 吵 太吵了 破 不干净 没味道 太贵了 别来 别点 难喝 后悔 糟糕 泰慢了 不满意 "
                   "什么玩意 太油 隔音差 房间小 态度差 服务差 避雷！ 一般般 少得可怜 不会再来 no 很差 算了 没诚意 不如泡面 拉黑 房间臭 没热水 再见👋")}
EMOJI = {1: words("😋 👍 😍 🥰 💯 🌹 ✨ 👏 😄 ❤️ 🎉 😊 👍👍👍 😋😋"), -1: words("😡 👎 😤 💔 🤮 😒 🙄 😠 👎👎 😑 😩 🤢"),
         0: words("😂 😭 🤣 😅 🙃 🐶 😳 🤔 🍚 🌶️ 🙏 😮")}
KAOMOJI = {1: "(≧▽≦) (｡･ω･｡) ヽ(✿ﾟ▽ﾟ)ノ (*^▽^*) ^_^ (๑•̀ㅂ•́)و✧ (^o^)".split(), -1: "(╯‵□′)╯︵┻━┻ (｡•́︿•̀｡) (￣^￣) (¬_¬) =_= (╥﹏╥) (－_－)".split(),
           0: "T_T →_→ (⊙o⊙) Orz (´･_･`) o(╯□╰)o (°ー°〃) QAQ".split()}
TYPOS = [w.split(">") for w in words(
    "好吃>好次 好吃>好七 难吃>难次 太慢>泰慢 太好>泰好 太少>泰少 服务>服物 态度>太度 味道>味到 分量>份量 再点>在点 再来>在来 不错>8错 没有>木有 非常>灰常 便宜>便yi 推荐>推见 前台>钱台 隔音>隔因 早餐>早参 "
    "一般>一班 干净>干静 房间>防间 真的>真滴 喜欢>稀饭 包装>包庄 送得>送的 很好>hin好 什么>神马 这么>介么 竟然>竞然 实惠>实会 准时>准食 失望>湿望 再也>在也 舒服>书服 位置>位子 热情>热请 新鲜>新先 客服>客付 有点>有丢丢 怎么>肿么 小哥>小锅 电话>电活 盒子>合子 已经>以经 敷衍>付衍 配送>派送 评论>平论")]
TRADITIONAL = (  # pairs, simplified then traditional
    "离離遥遙葱蔥洒灑游遊专專业業东東丝絲两兩严嚴个個丰豐临臨为為么麼书書买買乱亂于於亏虧亲親从從们們价價优優会會体體俩倆儿兒关關兴興养養写寫冲衝决決净淨准準凉涼减減凑湊几幾刚剛别別办辦务務动動劲勁劝勸区區医醫华華单單卖賣卤滷卫衛厉厲压壓参參双雙发發变變叶葉后後吓嚇听聽员員响響图圖围圍国國园園场場坏壞块塊垫墊墙牆声聲处處备備够夠头頭夹夾夸誇"
    "妈媽学學实實宝寶宽寬宾賓对對尔爾尝嚐尴尷尽盡层層帘簾带帶帮幫并並庄莊庆慶应應开開异異当當归歸态態怜憐总總懒懶戏戲户戶扫掃扬揚担擔择擇挤擠挞撻换換摊攤撑撐数數断斷无無旧舊时時机機条條来來极極标標样樣档檔桥橋柠檸楼樓气氣汉漢汤湯没沒泼潑洁潔浆漿浇澆浓濃涨漲温溫湿濕满滿灵靈点點烂爛热熱烟煙烦煩烧燒烫燙爱愛猪豬环環现現电電盐鹽盖蓋着著码碼确確"
    "礼禮种種稳穩竞競笼籠简簡类類粮糧红紅级級纸紙线線细細经經结結绕繞给給络絡绝絕继繼续續维維绿綠缝縫缩縮网網肠腸肿腫脏髒脚腳腻膩舍捨节節苍蒼苏蘇荐薦药藥萨薩虫蟲虽雖蚁蟻蚂螞蛮蠻蝇蠅补補装裝裤褲见見视視觉覺计計订訂认認让讓训訓议議讲講论論设設评評试試话話该該语語误誤说說请請谁誰调調谈談谢謝谱譜负負败敗质質购購贴貼贵貴费費贼賊赖賴赞讚赶趕车車"
    "转轉软軟边邊达達过過还還这這进進远遠连連迟遲适適选選遗遺邻鄰酱醬钟鐘钱錢铁鐵铺鋪链鏈销銷锁鎖锅鍋错錯镇鎮门門闭閉问問间間闹鬧闺閨队隊阳陽陈陳随隨难難静靜顶頂须須顾顧顿頓预預频頻题題额額饨飩饭飯饮飲饱飽饺餃饼餅饿餓馄餛馆館马馬验驗骑騎鱼魚鱿魷鲜鮮鸡雞鸭鴨麦麥黄黃咸鹹干乾台臺松鬆卷捲制製杨楊宫宮丢丟蛳螄")
# what cannot both be true of one order or stay
CLASH = [w.split(">") for w in words(
    "扔了|放下了|不想[吃喝]|难以下咽|没法[吃喝]>[吃喝]完|[吃喝]光|不够吃|吃不饱|几口就没|一点没剩|吃不完|吃撑|很撑 热乎|还是热|烫的|热气|保温|是脆的>凉|冷|冰箱|软了 第一次|新店|尝鲜>上次|以前|之前|上回|前.次|一如既往|还是那么|越来越|老掉|又涨|再也不点别家|从来不看|老顾客 下雨|大雨>太阳 半夜|晚上|昨晚|夜宵>早上|顶着太阳 没坨>坨了|坨成 "
    "给孩子>孩子 加班>室友 用券>没什么优惠|用券 没漏|没有漏|没有洒|密封>漏了|洒了 老顾客|经常点|点过>好几|第一 临时>提前 没窗|没有窗>窗外|采光|窗户 一夜|整晚|半夜被>睡得很|一觉 学生党>上次|之前|以前|前.次|这回|本来 涨价>上次|之前|以前|前.次|本来 没想到|本来以为|上次|以前|前.次>想象|预期|说的那么|哪里|越来越 退房>刚退房 免费升级>订的|住的 收到了>没到|取消")]


def pick(items):
    return items[int(RNG.random() * len(items))]


def chance(p):
    return RNG.random() < p


def shuffle(items):
    for i in range(len(items) - 1, 0, -1):
        j = int(RNG.random() * (i + 1))
        items[i], items[j] = items[j], items[i]


def fill(template, ctx):
    """Settles the choices of a template, then its slots."""
    while "[" in template:
        template = re.sub(r"\[([^\[\]]*)\]", lambda m: pick(m[1].split("/")), template, count=1)
    while "{" in template:
        template = re.sub(r"\{(\w+)\}", lambda m: ctx[m[1]] if m[1] in ctx else pick(SLOTS[m[1]]), template, count=1)
    return template


def context(domain):
    if domain == "hotel":
        return {"domain": domain, "groups": [], "aspects": HOTEL, "room": pick(SLOTS["room"]), "poi": pick(SLOTS["poi"])}
    dishes, good, bad, groups = KINDS[pick(list(KINDS))]
    dish = pick(dishes)
    return {"domain": domain, "groups": groups, "aspects": FOOD, "good": good, "bad": bad, "dish": dish,
            "dish2": pick([d for d in dishes if d != dish]), "eat": good[0][1]}


def related(a, others):
    return a in others or any(a in family and family & set(others) for family in SAME)


def choose_aspects(ctx, n, among=None):
    """n aspects that may stand in one review: all different, no two of one family."""
    chosen = []
    while len(chosen) < n:
        a = pick(among if among and not chosen else ctx["aspects"])
        if not related(a, chosen):
            chosen.append(a)
    return chosen


def clause(ctx, aspect, sign, level="any"):
    """One clause on an aspect. level: any, firm, plain (may be conceded), minor (a small fault), versus (earlier times)."""
    subjects, good, bad = ASPECTS[aspect]
    if aspect == "dish":
        good, bad = ctx["good"], ctx["bad"]
    mine, other = (good, bad) if sign > 0 else (bad, good)
    if level == "versus":
        frames, adjectives = pick([(VERSUS["same"], mine), (VERSUS["same"], mine), (VERSUS["flip"], other)])
    elif level == "minor" and (not PHRASES.get(aspect, ((), (), ()))[2] or chance(0.4)):
        frames, adjectives = (MINOR["bad"], bad) if chance(0.65) else (MINOR["good"], good)
    elif level == "firm" or level != "minor" and (aspect not in PHRASES or chance(FRAMED)):
        flipped = level != "firm" and chance(FLIPPED)
        frames, adjectives = (NOT_BAD if sign > 0 else NOT_GOOD, other) if flipped else (DIRECT, mine)
    else:
        column = 2 if level == "minor" else 0 if sign > 0 else 1
        pool = [p for key in [aspect] + [aspect + "+" + g for g in ctx["groups"]] for p in PHRASES.get(key, ((), (), ()))[column]]
        pool = [p for p in pool if level in ("any", "firm") or p[0] != "!"]
        return fill(pick(pool).lstrip("!"), ctx)
    frame = pick([f for f in frames if level in ("any", "firm") or f[0] != "!"]).lstrip("!")
    return fill(frame.replace("{S}", pick(subjects)).replace("{A}", pick(adjectives)), ctx)


def verdict(ctx, sign):
    return fill(pick(words(VERDICT[pick([ctx["domain"], "both"]), sign])), ctx)


def plain(ctx, sign):
    n = pick([1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 5, 6])
    aspects = choose_aspects(ctx, n)
    parts = [clause(ctx, a, sign) for a in aspects]
    if sign < 0 and n > 1 and chance(0.2):
        parts[0] = clause(ctx, aspects[0], sign, "minor")
    return parts + ([verdict(ctx, sign)] if chance(0.55) else [])


def mixed(ctx, sign):
    """Praise and blame: the deciding side comes last, or the verdict tells."""
    told = chance(0.76)
    if sign > 0:
        y, = choose_aspects(ctx, 1, [a for a in ctx["aspects"] if a in CORE])
        x = pick([a for a in ctx["aspects"] if not related(a, [y])])
        give = clause(ctx, x, -1, "plain" if told and x in YIELD and chance(0.6) else "minor")
        decide = clause(ctx, y, 1, "firm" if not told or chance(0.4) else "any")
    else:
        x, y = choose_aspects(ctx, 2)
        give, decide = clause(ctx, x, 1, "plain"), clause(ctx, y, -1, "firm" if chance(0.4) else "plain")
    if chance(0.5):
        more = choose_aspects(ctx, 1)[0]
        if not related(more, [x, y]):
            decide += "，" + clause(ctx, more, sign, "plain")
    frame = fill(pick(MIX[0] if chance(0.6) else MIX[sign]), {"X": give, "Y": decide, **ctx})
    if told:
        if chance(0.3):
            frame = fill(pick(["{Y}，就是{X}", "{Y}，不过{X}"] if sign > 0 else ["{X}，就是{Y}", "{X}，{Y}"]), {"X": give, "Y": decide})
        return [frame, verdict(ctx, sign)]
    if chance(0.15):
        frame += "，" + fill(pick(HOPE), ctx)
    return [frame]


def compared(ctx, sign):
    a, = choose_aspects(ctx, 1)
    if chance(0.4):
        parts = [clause(ctx, a, sign, "versus")]
    else:
        parts = [fill(pick(COMPARE[sign]), {"X": clause(ctx, a, -sign, "plain"), "Y": clause(ctx, a, sign, "plain")})]
    return parts + ([verdict(ctx, sign)] if chance(0.7) else [])


def ironic(ctx, sign):
    return [fill(pick(IRONY[ctx["domain"], sign]), ctx)] + ([verdict(ctx, sign)] if chance(0.1) else [])


def final(ctx, sign):
    first, second = verdict(ctx, sign), verdict(ctx, sign)
    return [first] if first == second or chance(0.5) else [first, second]


def short(ctx, sign):
    return [pick(SHORT[sign])]


SHAPES = [(plain, 0.51), (mixed, 0.3), (compared, 0.07), (ironic, 0.025), (final, 0.055), (short, 0.04)]


def dress(parts, sign, traits):
    """The surface: punctuation, repetition, slips, emoji, traditional characters."""
    style = RNG.random()
    comma = "，" if style < 0.66 else "," if style < 0.8 else " " if style < 0.9 else pick("。！～；")
    text = comma.join(parts)
    if comma in ", ":
        text = text.replace("，", comma)
    if chance(0.62) and text[-1].isalnum():
        text += pick(["。", "。", "！", "！", "!", ".", "～", "~", "！！", "!!!", "……", "...", "~~~", "。。。", "！！！"] + ["啊", "哦", "呢"] * (text[-1] in "了的吃喝"))
    if chance(0.13):
        found = re.search("(?<!不)太(?!阳)|超(?!市)|(?<![是算得])很|(?<=[太真超么])好(?=[吃喝])|真的(?=[很好])|贼|(?<=[太真])[慢贵吵脏香]", text)
        if found:
            again = found[0] * pick([2, 3, 3, 4]) if found[0] != "太" or chance(0.7) else pick(["太!!!", "太～～", "太……"])
            text = text[:found.start()] + again + text[found.end():]
            traits.add("repeated")
    if chance(0.1):
        fits = [t for t in TYPOS if t[0] in text]
        if fits:
            text = text.replace(*pick(fits), 1)
            traits.add("typo or homophone")
    if chance(0.025):
        new = re.sub("(?<![里外方表上下对图])面", "麵", text).replace("头发", "頭髮").replace("老板", "老闆")
        new = re.sub("(?<!千)里(?!脊)", "裡", new).translate(str.maketrans(TRADITIONAL[::2], TRADITIONAL[1::2]))
        if new != text:
            text = new
            traits.add("traditional characters")
    tint = sign if chance(0.6) else 0
    if chance(0.12):
        text = text + pick(EMOJI[tint]) if chance(0.85) else pick(EMOJI[tint]) + text
        traits.add("emoji")
    elif chance(0.04):
        text += pick(KAOMOJI[tint])
        traits.add("kaomoji")
    return text


def review(sign):
    """One text and its traits, or None where the parts do not agree with each other."""
    ctx, r, traits = context("food" if chance(0.58) else "hotel"), RNG.random(), set()
    for shape, share in SHAPES:
        if r < share:
            break
        r -= share
    parts = shape(ctx, sign)
    if shape not in (short, ironic):
        if chance(0.36):
            parts.insert(0, fill(pick(OPEN[ctx["domain"]]), ctx))
        if chance(0.08):
            parts.insert(0, pick(ASIDE))
    bare = "，".join(parts)
    names = [n for n in (ctx.get("dish"), ctx.get("dish2"), ctx.get("room")) if n]
    if any(bare.count(n) > 1 for n in names) or any(re.search(a, bare) and re.search(b, bare) for a, b in CLASH):
        return None
    traits.add(shape.__name__)
    text = dress(parts, sign, traits)
    return (text, traits) if len(text) <= 80 and (shape is short or len(text) >= 4) else None


def key(text):
    """A text without white space, case, width, punctuation and symbols."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if unicodedata.category(c)[0] in "LN")


def make():
    rows, seen = [], set()
    for label, wanted in WANTED.items():
        enough = len(rows) + wanted
        while len(rows) < enough:
            made = review(1 if label == "好评" else -1)
            if made and key(made[0]) and key(made[0]) not in seen:
                seen.add(key(made[0]))
                rows.append((label, *made))
    shuffle(rows)
    return rows


def main(path):
    rows = make()
    with open(path, "w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["label", "text"])
        table.writerows(row[:2] for row in rows)
    lengths = sorted(len(text) for _, text, _ in rows)
    print(f"{len(rows)} rows, {len({key(row[1]) for row in rows})} distinct: " + ", ".join(f"{k} {v}" for k, v in WANTED.items()))
    print(f"length: min {lengths[0]}, p10 {lengths[len(rows) // 10]}, median {statistics.median(lengths):g}, "
          f"mean {statistics.mean(lengths):.1f}, p90 {lengths[len(rows) * 9 // 10]}, max {lengths[-1]}")
    share = {"negation": r"[不没别]", "digits": r"\d", "Latin words": r"[A-Za-z]{2,}", "half-width punctuation": r"[,.!~]", "at most 5 characters": r"^.{1,5}$"}
    counts = {name: sum(bool(re.search(rx, text)) for _, text, _ in rows) for name, rx in share.items()}
    for name in sorted({t for row in rows for t in row[2]}):
        counts[name] = sum(name in row[2] for row in rows)
    for name, n in counts.items():
        print(f"  {name}: {n / len(rows):.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("reviews.csv"))
